package uring

// Opcodes (enum io_uring_op).
const (
	opNop         = 0
	opReadv       = 1
	opWritev      = 2
	opFsync       = 3
	opAsyncCancel = 14
)

// Flags of the structures and calls.
const (
	setupCQSize = 1 << 3 // IORING_SETUP_CQSIZE
	setupClamp  = 1 << 4 // IORING_SETUP_CLAMP

	featSingleMmap   = 1 << 0 // IORING_FEAT_SINGLE_MMAP, Linux 5.4
	featNoDrop       = 1 << 1 // IORING_FEAT_NODROP, Linux 5.5
	featSubmitStable = 1 << 2 // IORING_FEAT_SUBMIT_STABLE, Linux 5.5
	featRWCurPos     = 1 << 3 // IORING_FEAT_RW_CUR_POS, Linux 5.6
	featNative       = 1 << 9 // IORING_FEAT_NATIVE_WORKERS, Linux 5.12

	enterGetEvents = 1 << 0 // IORING_ENTER_GETEVENTS

	registerEventFD = 4 // IORING_REGISTER_EVENTFD

	fsyncDataSync = 1 << 0 // IORING_FSYNC_DATASYNC

	cancelAll = 1 << 0 // IORING_ASYNC_CANCEL_ALL, Linux 5.19
	cancelAny = 1 << 2 // IORING_ASYNC_CANCEL_ANY, Linux 5.19

	cqEventFDDisabled = 1 << 0 // IORING_CQ_EVENTFD_DISABLED
)

// Where the three areas are mapped (mmap offsets of the ring's descriptor).
const (
	offRings = 0
	offSQEs  = 0x10000000
)

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries  uint32
	flags                 uint32
	sqThreadCPU, sqThread uint32
	features              uint32
	wqFD                  uint32
	_                     [3]uint32
	sq                    sqOffsets
	cq                    cqOffsets
}

// sqOffsets is struct io_sqring_offsets.
type sqOffsets struct {
	head, tail, mask, entries, flags, dropped, array, _ uint32
	_                                                   uint64
}

// cqOffsets is struct io_cqring_offsets.
type cqOffsets struct {
	head, tail, mask, entries, overflow, cqes, flags, _ uint32
	_                                                   uint64
}

// entry is struct io_uring_sqe.
type entry struct {
	opcode  uint8
	flags   uint8
	ioprio  uint16
	fd      int32
	off     uint64
	addr    uint64
	size    uint32
	opFlags uint32
	data    uint64
	_       [3]uint64
}

// result is struct io_uring_cqe.
type result struct {
	data  uint64
	res   int32
	flags uint32
}
