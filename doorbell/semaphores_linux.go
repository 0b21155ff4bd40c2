package doorbell

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// doors is how many rounds of a bell word have a semaphore of their own.
const doors = 64

// What the semaphores of a set are.
const (
	dataDoors  = 0
	spaceDoors = doors
	nonceLow   = 2 * doors
	nonceHigh  = 2*doors + 1
	setSize    = 2*doors + 2
)

// kernel is every system call that a test wants to fail. Nothing else replaces them.
type kernel struct {
	get  func(key int32, n, flags int) (int, unix.Errno)
	ctl  func(id, num, cmd, val int) (int, unix.Errno)
	fill func(id int, values *[setSize]uint16) unix.Errno
	stat func(id int) (unix.SysvIpcPerm, unix.Errno)
	give func(id, uid, gid int, mode uint32) unix.Errno
	wait func(id, num int, limit time.Duration) unix.Errno
}

var sys = kernel{semget, semctl, semfill, semstat, semgive, semwait}

// SetError: the semaphore set of a segment cannot be made or reached. It matches
// [ErrUnavailable] and the system's error.
type SetError struct {
	Op  string
	Key uint32 // of the set
	Err error
}

func (e *SetError) Error() string {
	remedy := ""
	switch e.Err {
	case unix.ENOSPC:
		remedy = ": no room for one more set: ipcs -s shows them, ipcrm -s removes what nobody uses, sysctl kernel.sem " +
			"has the limits"
	case unix.ENOMEM:
		remedy = ": the kernel has no memory for it"
	case unix.ENOSYS, unix.EPERM:
		remedy = ": this system, or a sandbox, refuses SysV semaphores: create the ring with another doorbell " +
			"(DoorbellFutex, DoorbellPoll)"
	case errContested:
		remedy = fmt.Sprintf(": %d keys in a row were taken by sets that are not ours, or changed under us", attempts)
	}
	return fmt.Sprintf("%v: sysv: %s of set with key %#08x: %v%s", ErrUnavailable, e.Op, e.Key, e.Err, remedy)
}

func (e *SetError) Unwrap() []error { return []error{ErrUnavailable, e.Err} }

// NamespaceError: the semaphores of a segment are in another IPC namespace than this
// process. It matches [ErrUnavailable].
type NamespaceError struct{ Ours, Theirs uint64 } // inodes of /proc/PID/ns/ipc

func (e *NamespaceError) Error() string {
	return fmt.Sprintf("%v: sysv: the ring's semaphores are in IPC namespace %d, this process is in %d: share the IPC "+
		"namespace (docker run --ipc, hostIPC), or remove the ring and create it with DoorbellFutex",
		ErrUnavailable, e.Theirs, e.Ours)
}

func (e *NamespaceError) Unwrap() error { return ErrUnavailable }

// namespace is the IPC namespace of this process; 0: unknown.
var namespace = func() uint64 {
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/ipc", &st) != nil {
		return 0
	}
	return st.Ino
}

// semset finds the semaphore set of a segment, and makes it.
type semset struct {
	at    *layout.Semaphores
	nonce [2]uint16
	known layout.Word[layout.SemaphoreSet] // the value of at.Set whose set was last found to be ours
}

func (s *semset) init(cfg layout.Config, at *layout.Semaphores) {
	s.at = at
	sum := crc32.Checksum(cfg.UUID[:], crc32.MakeTable(crc32.Castagnoli))
	// Never 0, which is what a new set has, and at most SEMVMX.
	s.nonce = [2]uint16{uint16(sum&0x3fff | 0x4000), uint16(sum>>14&0x3fff | 0x4000)}
}

// state is what a set turns out to be.
type state int

const (
	gone    state = iota
	foreign       // or one that we may not touch
	blank         // ours, all zero
	ready         // ours
)

// inspect only reads. owner is the user id of the segment's file; negative: a blank set
// is not ours.
func (s *semset) inspect(id, owner int) state {
	value := func(num int) (int, unix.Errno) { return sys.ctl(id, num, cmdGetVal, 0) }
	if _, e := value(0); e == unix.EINVAL || e == unix.EIDRM {
		return gone
	}
	low, e := value(nonceLow)
	if e != 0 {
		return foreign // it has fewer, or we must not look
	}
	high, e := value(nonceHigh)
	if e != 0 {
		return foreign
	}
	if _, e := value(setSize); e != unix.EINVAL {
		return foreign // it has more
	}
	if low == int(s.nonce[0]) && high == int(s.nonce[1]) {
		return ready
	}
	if owner < 0 || low != 0 || high != 0 {
		return foreign
	}
	for num := range nonceLow {
		if v, e := value(num); e != 0 || v != 0 {
			return foreign
		}
	}
	if perm, e := sys.stat(id); e != 0 || int(perm.Cuid) != owner && int(perm.Cuid) != unix.Geteuid() {
		return foreign
	}
	return blank
}

// current returns the set to be used now.
func (s *semset) current() (set layout.SemaphoreSet, ok bool) {
	set = s.at.Set.Load()
	switch {
	case !set.Present():
		return set, false
	case set == s.known.Load():
	case s.inspect(set.ID(), -1) != ready:
		return set, false
	default:
		s.known.Store(set)
	}
	return set, true
}

// forget makes current look again: the set has failed.
func (s *semset) forget(set layout.SemaphoreSet) { s.known.CompareAndSwap(set, 0) }

// here refuses a segment whose semaphores are elsewhere.
func (s *semset) here() error {
	ours, theirs := namespace(), s.at.Namespace.Load()
	if ours != 0 && theirs != 0 && ours != theirs {
		return &NamespaceError{Ours: ours, Theirs: theirs}
	}
	return nil
}

// making lets the goroutines of this process take turns, since a segment cannot take a
// lock twice.
var making sync.Mutex

// establish sees to it that there is a set. False: somebody else is about to.
func (s *semset) establish(seg Segment) (done bool, err error) {
	if err := s.here(); err != nil {
		return false, err
	}
	if !making.TryLock() {
		return false, nil
	}
	defer making.Unlock()
	ok, err := seg.TryLock(layout.SemaphoreLock)
	if err != nil {
		return false, fmt.Errorf("%w: sysv: %w", ErrUnavailable, err)
	}
	if !ok {
		return false, nil
	}
	defer func() { _ = seg.Unlock(layout.SemaphoreLock) }() // it fails only after Close, which has unlocked
	if _, ok := s.current(); ok {
		return true, nil
	}
	uid, gid, mode, err := seg.Owner()
	if err != nil {
		return false, fmt.Errorf("%w: sysv: %w", ErrUnavailable, err)
	}
	return true, s.make(uid, gid, permissions(uint32(mode)))
}

// permissions are those of a set whose segment has mode: who may write may do all.
func permissions(mode uint32) uint32 { return mode&0o222 | mode&0o222<<1 }

// attempts bounds what a peer can do who rewrites the key, or who owns the sets of all
// keys that we think of.
const attempts = 8

var errContested = fmt.Errorf("contested")

// make goes through the steps of the package comment. The lock is held.
func (s *semset) make(uid, gid int, mode uint32) error {
	key := s.at.Key.Load()
	fail := func(op string, e error) error { return &SetError{op, key, e} }
	if ns := namespace(); ns != 0 {
		s.at.Namespace.Store(ns) // 1
		killpoint.At(killpoint.NamespaceStored)
	}
	for range attempts {
		if key == 0 {
			key = randomKey()
			s.at.Key.Store(key) // 2
			killpoint.At(killpoint.KeyStored)
		}
		found := blank
		id, e := sys.get(int32(key), setSize, unix.IPC_CREAT|unix.IPC_EXCL|int(mode)) // 3
		killpoint.At(killpoint.SemaphoresMade)
		if e == unix.EEXIST {
			if id, e = sys.get(int32(key), 0, 0); e == 0 {
				found = s.inspect(id, uid)
			} else {
				found = gone
			}
		} else if e != 0 {
			return fail("semget", e)
		}
		if found == blank {
			found = s.fill(id, uid, gid, mode)
		}
		switch found {
		case ready:
			set := layout.PackSemaphoreSet(s.at.Set.Load().Generation()+1, id)
			s.at.Set.Store(set) // 6
			killpoint.At(killpoint.SetStored)
			s.known.Store(set)
			return nil
		case foreign:
			key = 0
		}
	}
	return fail("making", errContested)
}

// fill makes a blank set ours.
func (s *semset) fill(id, uid, gid int, mode uint32) state {
	// So that whoever may write the file may use the set, whoever of them made it. Where
	// an id means nothing in our user namespace, it stays with us.
	_ = sys.give(id, uid, gid, mode) // 4
	killpoint.At(killpoint.SemaphoresGiven)
	var values [setSize]uint16
	values[nonceLow], values[nonceHigh] = s.nonce[0], s.nonce[1]
	e := sys.fill(id, &values) // 5
	killpoint.At(killpoint.SemaphoresFilled)
	switch e {
	case 0:
		return ready
	case unix.EINVAL, unix.EIDRM:
		return gone
	}
	return foreign
}

// randomKey is never IPC_PRIVATE.
func randomKey() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return binary.NativeEndian.Uint32(b[:]) | 1
}

// Reachable returns a [*NamespaceError] if a segment with that configuration has a semaphore set
// in another IPC namespace, where Remove would find nothing.
func Reachable(cfg layout.Config, at *layout.Semaphores) error {
	if cfg.Doorbell != layout.SysV {
		return nil
	}
	var s semset
	s.init(cfg, at)
	return s.here()
}

// Remove removes the semaphore set of a segment with that configuration, if there is
// one and it is recognised; owner is the user id of the segment's file. The caller makes
// sure that nobody uses the segment. Removing again does nothing, and so does removing
// from another IPC namespace, where the set is out of reach. The error is a [*SetError]:
// EPERM for who is neither root nor the owner.
func Remove(cfg layout.Config, at *layout.Semaphores, owner int) error {
	if cfg.Doorbell != layout.SysV {
		return nil
	}
	var s semset
	s.init(cfg, at)
	if s.here() != nil {
		return nil
	}
	set := at.Set.Load()
	if set.Present() {
		if err := s.remove(set.ID(), -1); err != nil {
			return err
		}
	}
	at.Set.Store(set.Gone())
	// Its maker may have been killed before it noted the id.
	if key := at.Key.Load(); key != 0 {
		if id, e := sys.get(int32(key), 0, 0); e == 0 {
			return s.remove(id, owner)
		}
	}
	return nil
}

func (s *semset) remove(id, owner int) error {
	if s.inspect(id, owner) < blank {
		return nil
	}
	_, e := sys.ctl(id, 0, unix.IPC_RMID, 0)
	if e != 0 && e != unix.EINVAL && e != unix.EIDRM {
		return &SetError{"removal", s.at.Key.Load(), e}
	}
	killpoint.At(killpoint.SemaphoresRemoved)
	return nil
}
