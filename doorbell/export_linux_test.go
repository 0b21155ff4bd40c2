package doorbell

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const SetSize = setSize

// made has the ids of all sets that this process has made, because tests of other
// packages run at the same time.
var made sync.Map

func init() {
	real := sys.get
	sys.get = func(key int32, n, flags int) (int, unix.Errno) {
		id, e := real(key, n, flags)
		if e == 0 && flags != 0 {
			made.Store(id, nil)
		}
		return id, e
	}
}

// Keys are where the set of a segment may be.
func Keys(at Target) []uint32 {
	var s semset
	s.init(at.View.Config, at.Inode, &at.View.Hot.Semaphores)
	return s.keys[:]
}

// Mark is what the permission bits of a set tell.
const Mark = mark

// Now makes what was found to be ours be looked at again.
func Now(b Bell) { b.(*sysvBell).set.looked.Store(-int64(time.Hour)) }

// MadeHere tells a set of this process's.
func MadeHere(id int) bool { _, ok := made.Load(id); return ok }

// BeforeCall lets a test see, or fail, every system call on semaphores by its name
// before it is made. 0 goes on.
func BeforeCall(t testing.TB, f func(name string) unix.Errno) {
	real := sys
	t.Cleanup(func() { sys = real })
	sys = kernel{
		get: func(key int32, n, flags int) (int, unix.Errno) {
			name := "semget"
			if flags == 0 {
				name = "find"
			}
			if e := f(name); e != 0 {
				return -1, e
			}
			return real.get(key, n, flags)
		},
		ctl: func(id, num, cmd, val int) (int, unix.Errno) {
			name := map[int]string{cmdGetVal: "GETVAL", cmdSetVal: "SETVAL", unix.IPC_RMID: "IPC_RMID"}[cmd]
			if e := f(name); e != 0 {
				return -1, e
			}
			return real.ctl(id, num, cmd, val)
		},
		fill: func(id int, values *[setSize]uint16) unix.Errno {
			if e := f("SETALL"); e != 0 {
				return e
			}
			return real.fill(id, values)
		},
		stat: func(id int) (unix.SysvIpcPerm, unix.Errno) {
			if e := f("IPC_STAT"); e != 0 {
				return unix.SysvIpcPerm{}, e
			}
			return real.stat(id)
		},
		give: func(id, uid, gid int, mode uint32) unix.Errno {
			if e := f("IPC_SET"); e != 0 {
				return e
			}
			return real.give(id, uid, gid, mode)
		},
		wait: func(id, num int, limit time.Duration) unix.Errno {
			if e := f("semtimedop"); e != 0 {
				return e
			}
			return real.wait(id, num, limit)
		},
	}
}

// InNamespace makes this process believe that it is in another IPC namespace.
func InNamespace(t testing.TB, inode uint64) {
	real := namespace
	t.Cleanup(func() { namespace = real })
	namespace = func() uint64 { return inode }
}

// MakeSet makes a set as a stranger would.
func MakeSet(key uint32, n int) (int, error) {
	id, e := sys.get(int32(key), n, unix.IPC_CREAT|unix.IPC_EXCL|0o600)
	if e != 0 {
		return 0, e
	}
	return id, nil
}

// MakeMarkedSet makes one that looks like one whose maker was killed.
func MakeMarkedSet(key uint32) (int, error) {
	id, e := sys.get(int32(key), setSize, unix.IPC_CREAT|unix.IPC_EXCL|mark|0o600)
	return id, orNil(e)
}

// Replace makes the kernel take one id for another.
func Replace(t testing.TB, id, by int) {
	real := sys
	t.Cleanup(func() { sys = real })
	swap := func(x int) int {
		if x == id {
			return by
		}
		return x
	}
	sys.ctl = func(x, num, cmd, val int) (int, unix.Errno) { return real.ctl(swap(x), num, cmd, val) }
	sys.stat = func(x int) (unix.SysvIpcPerm, unix.Errno) { return real.stat(swap(x)) }
	sys.wait = func(x, num int, limit time.Duration) unix.Errno { return real.wait(swap(x), num, limit) }
}

// SetValue, Value and RemoveSet are what anybody with permission can do.
func SetValue(id, num, to int) error { _, e := semctl(id, num, cmdSetVal, to); return orNil(e) }

// Waiting is how many sleep until a semaphore is zero.
func Waiting(id, num int) int {
	const getZeroCount = 15 // GETZCNT
	n, _ := semctl(id, num, getZeroCount, 0)
	return n
}

func Value(id, num int) int { v, _ := semctl(id, num, cmdGetVal, 0); return v }

func RemoveSet(id int) error { _, e := semctl(id, 0, unix.IPC_RMID, 0); return orNil(e) }

func Permissions(id int) (perm unix.SysvIpcPerm, err error) {
	perm, e := semstat(id)
	return perm, orNil(e)
}

func orNil(e unix.Errno) error {
	if e != 0 {
		return e
	}
	return nil
}

var TrySysV = trySysV
