package doorbell

import (
	"math"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of semctl that x/sys does not have.
const (
	cmdGetVal = 12
	cmdSetVal = 16
	cmdSetAll = 17
)

// ipc64 asks old entry points for the structures that all others have.
func ipc64() int {
	switch runtime.GOARCH {
	case "arm", "mips64", "mips64le":
		return 0x100
	}
	return 0
}

// semget finds or makes a set of n semaphores.
func semget(key int32, n, flags int) (int, unix.Errno) {
	id, _, e := unix.RawSyscall(unix.SYS_SEMGET, uintptr(key), uintptr(n), uintptr(flags))
	return int(id), e
}

// semctl is for the commands that take a number, or nothing.
func semctl(id, num, cmd, val int) (int, unix.Errno) {
	// The argument is a union by value: the number is in its first four bytes, whichever
	// half of the register that is.
	arg := uintptr(uint32(val)) | uintptr(uint64(uint32(val))<<32)
	r, _, e := unix.RawSyscall6(unix.SYS_SEMCTL, uintptr(id), uintptr(num), uintptr(cmd|ipc64()), arg, 0, 0)
	return int(r), e
}

// semfill sets all values of a set of setSize at once.
func semfill(id int, values *[setSize]uint16) unix.Errno {
	// The kernel reads as many as the set has: the caller has counted them.
	_, _, e := unix.RawSyscall6(unix.SYS_SEMCTL, uintptr(id), 0, uintptr(cmdSetAll|ipc64()),
		uintptr(unsafe.Pointer(values)), 0, 0)
	return e
}

// semids is a semid64_ds: how it begins is known, and on every architecture it is shorter.
type semids struct {
	perm unix.SysvIpcPerm
	_    [256]byte
}

func semstat(id int) (perm unix.SysvIpcPerm, _ unix.Errno) {
	var ds semids
	_, _, e := unix.RawSyscall6(unix.SYS_SEMCTL, uintptr(id), 0, uintptr(unix.IPC_STAT|ipc64()),
		uintptr(unsafe.Pointer(&ds)), 0, 0)
	return ds.perm, e
}

// semgive changes the owner and the permission bits.
func semgive(id, uid, gid int, mode uint32) unix.Errno {
	var ds semids
	ds.perm.Uid, ds.perm.Gid = uint32(uid), uint32(gid)
	set(&ds.perm.Mode, mode)
	_, _, e := unix.RawSyscall6(unix.SYS_SEMCTL, uintptr(id), 0, uintptr(unix.IPC_SET|ipc64()),
		uintptr(unsafe.Pointer(&ds)), 0, 0)
	return e
}

// set is an assignment to a field whose type depends on the architecture.
func set[T uint16 | uint32](field *T, to uint32) { *field = T(to) }

// semwait blocks until a semaphore is 0, at most for the time given.
func semwait(id, num int, limit time.Duration) unix.Errno {
	op := struct {
		num       uint16
		op, flags int16
	}{num: uint16(num)}
	limit = min(limit, math.MaxInt32*time.Second)
	timeout := struct{ sec, nsec int64 }{int64(limit / time.Second), int64(limit % time.Second)}
	// op and timeout do not move: a conversion in the argument list of a system call
	// keeps them in place until it returns.
	_, _, e := unix.Syscall6(sysSemtimedop, uintptr(id), uintptr(unsafe.Pointer(&op)), 1,
		uintptr(unsafe.Pointer(&timeout)), 0, 0)
	return e
}
