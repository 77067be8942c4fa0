package kvm

import (
	"unsafe"

	gokvm "github.com/bobuhiro11/gokvm/kvm"
)

// Request numbers, from include/uapi/linux/kvm.h. A request carries the size of its
// argument; the sizes are those of our structures, so a structure of the wrong size gives a
// request that the kernel does not know. TestABI compares each with the kernel's header.
var (
	reqGetAPIVersion          = gokvm.IIO(0x00)
	reqCreateVM               = gokvm.IIO(0x01)
	reqGetMSRIndexList        = gokvm.IIOWR(0x02, sizeMSRList)
	reqCheckExtension         = gokvm.IIO(0x03)
	reqGetVCPUMmapSize        = gokvm.IIO(0x04)
	reqGetSupportedCPUID      = gokvm.IIOWR(0x05, sizeTable)
	reqGetEmulatedCPUID       = gokvm.IIOWR(0x09, sizeTable)
	reqGetMSRFeatureIndexList = gokvm.IIOWR(0x0a, sizeMSRList)

	reqCreateVCPU          = gokvm.IIO(0x41)
	reqGetDirtyLog         = gokvm.IIOW(0x42, unsafe.Sizeof(dirtyLog{}))
	reqSetNrMMUPages       = gokvm.IIO(0x44)
	reqGetNrMMUPages       = gokvm.IIO(0x45)
	reqSetUserMemoryRegion = gokvm.IIOW(0x46, unsafe.Sizeof(gokvm.UserspaceMemoryRegion{}))
	reqSetTSSAddr          = gokvm.IIO(0x47)
	reqSetIdentityMapAddr  = gokvm.IIOW(0x48, 8)
	reqCreateIRQChip       = gokvm.IIO(0x60)
	reqIRQLine             = gokvm.IIOW(0x61, unsafe.Sizeof(irqLevel{}))
	reqGetIRQChip          = gokvm.IIOWR(0x62, unsafe.Sizeof(IRQChipState{}))
	reqSetIRQChip          = gokvm.IIOR(0x63, unsafe.Sizeof(IRQChipState{}))
	reqRegisterCoalesced   = gokvm.IIOW(0x67, unsafe.Sizeof(coalescedZone{}))
	reqUnregisterCoalesced = gokvm.IIOW(0x68, unsafe.Sizeof(coalescedZone{}))
	reqSetGSIRouting       = gokvm.IIOW(0x6a, sizeTable)
	reqReinjectControl     = gokvm.IIO(0x71)
	reqIRQFD               = gokvm.IIOW(0x76, unsafe.Sizeof(irqFD{}))
	reqCreatePIT2          = gokvm.IIOW(0x77, unsafe.Sizeof(pitConfig{}))
	reqSetBootCPUID        = gokvm.IIO(0x78)
	reqIOEventFD           = gokvm.IIOW(0x79, unsafe.Sizeof(ioEventFD{}))
	reqSetClock            = gokvm.IIOW(0x7b, unsafe.Sizeof(ClockData{}))
	reqGetClock            = gokvm.IIOR(0x7c, unsafe.Sizeof(ClockData{}))
	reqGetPIT2             = gokvm.IIOR(0x9f, unsafe.Sizeof(PITState{}))
	reqSetPIT2             = gokvm.IIOW(0xa0, unsafe.Sizeof(PITState{}))
	reqSignalMSI           = gokvm.IIOW(0xa5, unsafe.Sizeof(msi{}))
	reqClearDirtyLog       = gokvm.IIOWR(0xc0, unsafe.Sizeof(clearDirtyLog{}))
	reqSetMSRFilter        = gokvm.IIOW(0xc6, unsafe.Sizeof(msrFilter{}))
	reqResetDirtyRings     = gokvm.IIO(0xc7)

	reqRun           = gokvm.IIO(0x80)
	reqGetRegs       = gokvm.IIOR(0x81, unsafe.Sizeof(Regs{}))
	reqSetRegs       = gokvm.IIOW(0x82, unsafe.Sizeof(Regs{}))
	reqGetSregs      = gokvm.IIOR(0x83, unsafe.Sizeof(Sregs{}))
	reqSetSregs      = gokvm.IIOW(0x84, unsafe.Sizeof(Sregs{}))
	reqTranslate     = gokvm.IIOWR(0x85, unsafe.Sizeof(Translation{}))
	reqInterrupt     = gokvm.IIOW(0x86, 4)
	reqGetMSRs       = gokvm.IIOWR(0x88, sizeTable)
	reqSetMSRs       = gokvm.IIOW(0x89, sizeTable)
	reqSetSignalMask = gokvm.IIOW(0x8b, 4)
	reqGetFPU        = gokvm.IIOR(0x8c, unsafe.Sizeof(FPU{}))
	reqSetFPU        = gokvm.IIOW(0x8d, unsafe.Sizeof(FPU{}))
	reqGetLAPIC      = gokvm.IIOR(0x8e, unsafe.Sizeof(LAPICState{}))
	reqSetLAPIC      = gokvm.IIOW(0x8f, unsafe.Sizeof(LAPICState{}))
	reqSetCPUID2     = gokvm.IIOW(0x90, sizeTable)
	reqGetCPUID2     = gokvm.IIOWR(0x91, sizeTable)
	reqGetMPState    = gokvm.IIOR(0x98, 4)
	reqSetMPState    = gokvm.IIOW(0x99, 4)
	reqNMI           = gokvm.IIO(0x9a)
	reqSetGuestDebug = gokvm.IIOW(0x9b, unsafe.Sizeof(guestDebug{}))
	reqGetVCPUEvents = gokvm.IIOR(0x9f, unsafe.Sizeof(VCPUEvents{}))
	reqSetVCPUEvents = gokvm.IIOW(0xa0, unsafe.Sizeof(VCPUEvents{}))
	reqGetDebugRegs  = gokvm.IIOR(0xa1, unsafe.Sizeof(DebugRegs{}))
	reqSetDebugRegs  = gokvm.IIOW(0xa2, unsafe.Sizeof(DebugRegs{}))
	reqSetTSCKHz     = gokvm.IIO(0xa2)
	reqGetTSCKHz     = gokvm.IIO(0xa3)
	reqEnableCap     = gokvm.IIOW(0xa3, unsafe.Sizeof(enableCap{}))
	reqGetXSave      = gokvm.IIOR(0xa4, minXSaveSize)
	reqSetXSave      = gokvm.IIOW(0xa5, minXSaveSize)
	reqGetXCRs       = gokvm.IIOR(0xa6, unsafe.Sizeof(XCRs{}))
	reqSetXCRs       = gokvm.IIOW(0xa7, unsafe.Sizeof(XCRs{}))
	reqKVMClockCtrl  = gokvm.IIO(0xad)
	reqSMI           = gokvm.IIO(0xb7)
	reqGetXSave2     = gokvm.IIOR(0xcf, minXSaveSize)
)

// The kernel's tables end in a flexible array, which counts nothing in sizeof: CPUID, MSR
// and routing tables have an 8-byte header, the MSR index list a 4-byte one.
const (
	sizeTable   = 8
	sizeMSRList = 4
)
