package vcpu

// CPUID leaves (Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E; Linux
// Documentation/virt/kvm/x86/cpuid.rst for 0x4000_0000).
const (
	leafVendor       = 0x0
	leafFeatures     = 0x1
	leafSerial       = 0x3
	leafCache        = 0x4 // Intel
	leafMonitor      = 0x5
	leafExtFeatures  = 0x7
	leafPMU          = 0xA // Intel
	leafTopology     = 0xB
	leafXSave        = 0xD
	leafSGX          = 0x12 // Intel
	leafTSC          = 0x15 // Intel
	leafFrequency    = 0x16 // Intel
	leafTile         = 0x1D // Intel
	leafTMUL         = 0x1E // Intel
	leafTopologyV2   = 0x1F // Intel
	leafHypervisor   = 0x40000000
	leafKVMFeatures  = 0x40000001
	leafHVTiming     = 0x40000010
	leafExtended     = 0x80000000
	leafExtFeatures1 = 0x80000001
	leafBrand        = 0x80000002 // and the two that follow
	leafL1Cache      = 0x80000005 // AMD
	leafAddressSize  = 0x80000008
	leafSVM          = 0x8000000A // AMD
	leafAMDCache     = 0x8000001D
	leafAMDTopology  = 0x8000001E
	leafAMDEncrypted = 0x8000001F
	leafAMDTopoV2    = 0x80000026
	leafCentaur      = 0xC0000000

	leafAMDBasicMax      = 0x10       // AMD's basic leaves end here
	leafIntelExtendedMax = 0x80000008 // Intel's extended leaves end here
)

// Bits of leaf 1.
const (
	ecx1Monitor     = 1 << 3
	ecx1VMX         = 1 << 5
	ecx1PDCM        = 1 << 15
	ecx1X2APIC      = 1 << 21
	ecx1TSCDeadline = 1 << 24
	ecx1Hypervisor  = 1 << 31
	edx1MTRR        = 1 << 12
	edx1HTT         = 1 << 28
)

// Bits of leaf 7, subleaves 0 and 1.
const (
	ebx7SGX        = 1 << 2
	ecx7SGXLC      = 1 << 30
	edx7AMX        = 1<<22 | 1<<24 | 1<<25 // AMX-BF16, AMX-TILE, AMX-INT8
	edx7ArchCap    = 1 << 29
	eax71AMXFP16   = 1 << 21
	edx71AMXCmplex = 1 << 8
	xcr0Tiles      = 1<<17 | 1<<18 // TILECFG, TILEDATA
)

// Bits of leaf 0x8000_0001, ECX.
const (
	ecxCmpLegacy = 1 << 1
	ecxSVM       = 1 << 2
	ecxTopoExt   = 1 << 22
)

// eaxMSIExtDestID is bit 15 of leaf 0x4000_0001, EAX (KVM_FEATURE_MSI_EXT_DEST_ID).
const eaxMSIExtDestID = 1 << 15

// Level types of leaves 0xB and 0x1F, in ECX[15:8].
const (
	levelThread = 1 << 8
	levelCore   = 2 << 8
)
