package kvm

import "strconv"

// Cap names an extension of KVM (KVM_CAP_* of include/uapi/linux/kvm.h). Those of other
// processor families, of Hyper-V, Xen and encrypted guests are left out. The comments say
// what CheckExtension answers where that is more than yes or no.
type Cap uint32

// Extensions, see Documentation/virt/kvm/api.rst.
const (
	CapIRQChip                  Cap = 0
	CapHLT                      Cap = 1
	CapMMUShadowCacheControl    Cap = 2
	CapUserMemory               Cap = 3
	CapSetTSSAddr               Cap = 4
	CapVAPIC                    Cap = 6
	CapExtCPUID                 Cap = 7
	CapClockSource              Cap = 8
	CapNrVCPUs                  Cap = 9  // recommended number of vCPUs
	CapNrMemSlots               Cap = 10 // number of memory slots
	CapPIT                      Cap = 11
	CapNopIODelay               Cap = 12
	CapMPState                  Cap = 14
	CapCoalescedMMIO            Cap = 15 // page of the vCPU's mapping that holds the ring
	CapSyncMMU                  Cap = 16 // host mappings may change under the guest
	CapDestroyMemoryRegionWorks Cap = 21
	CapUserNMI                  Cap = 22
	CapSetGuestDebug            Cap = 23
	CapReinjectControl          Cap = 24
	CapIRQRouting               Cap = 25 // number of GSI routes
	CapIRQInjectStatus          Cap = 26
	CapJoinMemoryRegionsWorks   Cap = 30
	CapMCE                      Cap = 31
	CapIRQFD                    Cap = 32
	CapPIT2                     Cap = 33
	CapSetBootCPUID             Cap = 34
	CapPITState2                Cap = 35
	CapIOEventFD                Cap = 36
	CapSetIdentityMapAddr       Cap = 37
	CapAdjustClock              Cap = 39 // flags of kvmclock that are offered
	CapInternalErrorData        Cap = 40
	CapVCPUEvents               Cap = 41
	CapIntrShadow               Cap = 49
	CapDebugRegs                Cap = 50
	CapX86RobustSinglestep      Cap = 51
	CapEnableCap                Cap = 54
	CapXSave                    Cap = 55
	CapXCRs                     Cap = 56
	CapAsyncPF                  Cap = 59
	CapTSCControl               Cap = 60 // guest TSC frequency can be set
	CapGetTSCKHz                Cap = 61 // TSC frequency can be read
	CapMaxVCPUs                 Cap = 66 // most vCPUs a VM can have
	CapTSCDeadlineTimer         Cap = 72
	CapSyncRegs                 Cap = 74
	CapKVMClockCtrl             Cap = 76
	CapSignalMSI                Cap = 77
	CapReadOnlyMem              Cap = 81
	CapIRQFDResample            Cap = 82 // level-triggered irqfd
	CapDeviceCtrl               Cap = 89
	CapExtEmulCPUID             Cap = 95
	CapIOAPICPolarityIgnored    Cap = 97
	CapEnableCapVM              Cap = 98
	CapIOEventFDNoLength        Cap = 100
	CapVMAttributes             Cap = 101
	CapCheckExtensionVM         Cap = 105 // CheckExtension works on a VM
	CapDisableQuirks            Cap = 116
	CapX86SMM                   Cap = 117
	CapMultiAddressSpace        Cap = 118
	CapGuestDebugHwBPs          Cap = 119
	CapGuestDebugHwWPs          Cap = 120
	CapSplitIRQChip             Cap = 121 // LAPICs in the kernel, PIC and IOAPIC in user space
	CapIOEventFDAnyLength       Cap = 122
	CapVCPUAttributes           Cap = 127
	CapMaxVCPUID                Cap = 128 // one more than the highest vCPU id
	CapX2APICAPI                Cap = 129
	CapImmediateExit            Cap = 136
	CapX86DisableExits          Cap = 143
	CapGetMSRFeatures           Cap = 153
	CapNestedState              Cap = 157
	CapMSRPlatformInfo          Cap = 159
	CapCoalescedPIO             Cap = 162
	CapExceptionPayload         Cap = 164
	CapManualDirtyLogProtect2   Cap = 168 // ClearDirtyLog works
	CapPMUEventFilter           Cap = 173
	CapHaltPoll                 Cap = 182
	CapAsyncPFInt               Cap = 183
	CapSmallerMaxPhyAddr        Cap = 185
	CapX86UserSpaceMSR          Cap = 188 // MSR exits to user space
	CapX86MSRFilter             Cap = 189
	CapEnforcePVFeatureCPUID    Cap = 190
	CapDirtyLogRing             Cap = 192 // largest ring in bytes
	CapX86BusLockExit           Cap = 193
	CapSetGuestDebug2           Cap = 195
	CapSregs2                   Cap = 200
	CapExitHypercall            Cap = 201
	CapBinaryStatsFD            Cap = 203
	CapExitOnEmulationFailure   Cap = 204
	CapVMGPABits                Cap = 207 // guest-physical address width
	CapXSave2                   Cap = 208 // size of the XSAVE area in bytes
	CapSysAttributes            Cap = 209
	CapPMUCapability            Cap = 212
	CapDisableQuirks2           Cap = 213
	CapVMTSCControl             Cap = 214
	CapSystemEventData          Cap = 215
	CapX86TripleFaultEvent      Cap = 218
	CapX86NotifyVMExit          Cap = 219
	CapVMDisableNXHugePages     Cap = 220
	CapDirtyLogRingAcqRel       Cap = 223 // largest ring in bytes
	CapDirtyLogRingWithBitmap   Cap = 225
	CapPMUEventMaskedEvents     Cap = 226
	CapUserMemory2              Cap = 231
	CapMemoryFaultInfo          Cap = 232
	CapMemoryAttributes         Cap = 233
	CapGuestMemFD               Cap = 234
	CapVMTypes                  Cap = 235
	CapPreFaultMemory           Cap = 236
	CapX86APICBusCyclesNs       Cap = 237
	CapX86GuestMode             Cap = 238
	CapGuestMemFDFlags          Cap = 244
)

// String gives the kernel's name, such as KVM_CAP_IRQFD.
func (c Cap) String() string {
	if int(c) < len(capNames) && capNames[c] != "" {
		return "KVM_CAP_" + capNames[c]
	}
	return "KVM_CAP_" + strconv.FormatUint(uint64(c), 10)
}

// capNames is laid out by the compiler and costs nothing at start.
var capNames = [...]string{
	CapIRQChip:                  "IRQCHIP",
	CapHLT:                      "HLT",
	CapMMUShadowCacheControl:    "MMU_SHADOW_CACHE_CONTROL",
	CapUserMemory:               "USER_MEMORY",
	CapSetTSSAddr:               "SET_TSS_ADDR",
	CapVAPIC:                    "VAPIC",
	CapExtCPUID:                 "EXT_CPUID",
	CapClockSource:              "CLOCKSOURCE",
	CapNrVCPUs:                  "NR_VCPUS",
	CapNrMemSlots:               "NR_MEMSLOTS",
	CapPIT:                      "PIT",
	CapNopIODelay:               "NOP_IO_DELAY",
	CapMPState:                  "MP_STATE",
	CapCoalescedMMIO:            "COALESCED_MMIO",
	CapSyncMMU:                  "SYNC_MMU",
	CapDestroyMemoryRegionWorks: "DESTROY_MEMORY_REGION_WORKS",
	CapUserNMI:                  "USER_NMI",
	CapSetGuestDebug:            "SET_GUEST_DEBUG",
	CapReinjectControl:          "REINJECT_CONTROL",
	CapIRQRouting:               "IRQ_ROUTING",
	CapIRQInjectStatus:          "IRQ_INJECT_STATUS",
	CapJoinMemoryRegionsWorks:   "JOIN_MEMORY_REGIONS_WORKS",
	CapMCE:                      "MCE",
	CapIRQFD:                    "IRQFD",
	CapPIT2:                     "PIT2",
	CapSetBootCPUID:             "SET_BOOT_CPU_ID",
	CapPITState2:                "PIT_STATE2",
	CapIOEventFD:                "IOEVENTFD",
	CapSetIdentityMapAddr:       "SET_IDENTITY_MAP_ADDR",
	CapAdjustClock:              "ADJUST_CLOCK",
	CapInternalErrorData:        "INTERNAL_ERROR_DATA",
	CapVCPUEvents:               "VCPU_EVENTS",
	CapIntrShadow:               "INTR_SHADOW",
	CapDebugRegs:                "DEBUGREGS",
	CapX86RobustSinglestep:      "X86_ROBUST_SINGLESTEP",
	CapEnableCap:                "ENABLE_CAP",
	CapXSave:                    "XSAVE",
	CapXCRs:                     "XCRS",
	CapAsyncPF:                  "ASYNC_PF",
	CapTSCControl:               "TSC_CONTROL",
	CapGetTSCKHz:                "GET_TSC_KHZ",
	CapMaxVCPUs:                 "MAX_VCPUS",
	CapTSCDeadlineTimer:         "TSC_DEADLINE_TIMER",
	CapSyncRegs:                 "SYNC_REGS",
	CapKVMClockCtrl:             "KVMCLOCK_CTRL",
	CapSignalMSI:                "SIGNAL_MSI",
	CapReadOnlyMem:              "READONLY_MEM",
	CapIRQFDResample:            "IRQFD_RESAMPLE",
	CapDeviceCtrl:               "DEVICE_CTRL",
	CapExtEmulCPUID:             "EXT_EMUL_CPUID",
	CapIOAPICPolarityIgnored:    "IOAPIC_POLARITY_IGNORED",
	CapEnableCapVM:              "ENABLE_CAP_VM",
	CapIOEventFDNoLength:        "IOEVENTFD_NO_LENGTH",
	CapVMAttributes:             "VM_ATTRIBUTES",
	CapCheckExtensionVM:         "CHECK_EXTENSION_VM",
	CapDisableQuirks:            "DISABLE_QUIRKS",
	CapX86SMM:                   "X86_SMM",
	CapMultiAddressSpace:        "MULTI_ADDRESS_SPACE",
	CapGuestDebugHwBPs:          "GUEST_DEBUG_HW_BPS",
	CapGuestDebugHwWPs:          "GUEST_DEBUG_HW_WPS",
	CapSplitIRQChip:             "SPLIT_IRQCHIP",
	CapIOEventFDAnyLength:       "IOEVENTFD_ANY_LENGTH",
	CapVCPUAttributes:           "VCPU_ATTRIBUTES",
	CapMaxVCPUID:                "MAX_VCPU_ID",
	CapX2APICAPI:                "X2APIC_API",
	CapImmediateExit:            "IMMEDIATE_EXIT",
	CapX86DisableExits:          "X86_DISABLE_EXITS",
	CapGetMSRFeatures:           "GET_MSR_FEATURES",
	CapNestedState:              "NESTED_STATE",
	CapMSRPlatformInfo:          "MSR_PLATFORM_INFO",
	CapCoalescedPIO:             "COALESCED_PIO",
	CapExceptionPayload:         "EXCEPTION_PAYLOAD",
	CapManualDirtyLogProtect2:   "MANUAL_DIRTY_LOG_PROTECT2",
	CapPMUEventFilter:           "PMU_EVENT_FILTER",
	CapHaltPoll:                 "HALT_POLL",
	CapAsyncPFInt:               "ASYNC_PF_INT",
	CapSmallerMaxPhyAddr:        "SMALLER_MAXPHYADDR",
	CapX86UserSpaceMSR:          "X86_USER_SPACE_MSR",
	CapX86MSRFilter:             "X86_MSR_FILTER",
	CapEnforcePVFeatureCPUID:    "ENFORCE_PV_FEATURE_CPUID",
	CapDirtyLogRing:             "DIRTY_LOG_RING",
	CapX86BusLockExit:           "X86_BUS_LOCK_EXIT",
	CapSetGuestDebug2:           "SET_GUEST_DEBUG2",
	CapSregs2:                   "SREGS2",
	CapExitHypercall:            "EXIT_HYPERCALL",
	CapBinaryStatsFD:            "BINARY_STATS_FD",
	CapExitOnEmulationFailure:   "EXIT_ON_EMULATION_FAILURE",
	CapVMGPABits:                "VM_GPA_BITS",
	CapXSave2:                   "XSAVE2",
	CapSysAttributes:            "SYS_ATTRIBUTES",
	CapPMUCapability:            "PMU_CAPABILITY",
	CapDisableQuirks2:           "DISABLE_QUIRKS2",
	CapVMTSCControl:             "VM_TSC_CONTROL",
	CapSystemEventData:          "SYSTEM_EVENT_DATA",
	CapX86TripleFaultEvent:      "X86_TRIPLE_FAULT_EVENT",
	CapX86NotifyVMExit:          "X86_NOTIFY_VMEXIT",
	CapVMDisableNXHugePages:     "VM_DISABLE_NX_HUGE_PAGES",
	CapDirtyLogRingAcqRel:       "DIRTY_LOG_RING_ACQ_REL",
	CapDirtyLogRingWithBitmap:   "DIRTY_LOG_RING_WITH_BITMAP",
	CapPMUEventMaskedEvents:     "PMU_EVENT_MASKED_EVENTS",
	CapUserMemory2:              "USER_MEMORY2",
	CapMemoryFaultInfo:          "MEMORY_FAULT_INFO",
	CapMemoryAttributes:         "MEMORY_ATTRIBUTES",
	CapGuestMemFD:               "GUEST_MEMFD",
	CapVMTypes:                  "VM_TYPES",
	CapPreFaultMemory:           "PRE_FAULT_MEMORY",
	CapX86APICBusCyclesNs:       "X86_APIC_BUS_CYCLES_NS",
	CapX86GuestMode:             "X86_GUEST_MODE",
	CapGuestMemFDFlags:          "GUEST_MEMFD_FLAGS",
}
