package doorbell

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
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
		remedy = fmt.Sprintf(": all %d keys that it may have are taken by sets that are not ours (ipcs -s), or change "+
			"under us: create the ring with another doorbell", attempts)
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

// semset finds the semaphore set of a segment, and makes it. What the segment says of it is a
// hint: a set is known by what a peer can neither choose nor guess in time, see sign.
type semset struct {
	at    *layout.Semaphores
	keys  [attempts]uint32 // where a set of this segment may be
	nonce [2]uint16        // what it has in two of its semaphores

	known  layout.Word[layout.SemaphoreSet] // the value of at.Set whose set was last found to be ours
	looked atomic.Int64                     // when that was; see trustFor
}

// attempts bounds how many keys a stranger has to take who knows them, and would keep a ring
// from having a set.
const attempts = 8

func (s *semset) init(cfg layout.Config, inode uint64, at *layout.Semaphores) {
	s.at = at
	sum := sign(cfg.UUID, inode)
	for i := range s.keys {
		s.keys[i] = binary.LittleEndian.Uint32(sum[4*i:]) | 1 // never IPC_PRIVATE
	}
	rest := sign(cfg.UUID, ^inode)
	for i := range s.nonce {
		// Never 0, which is what a new set has, and at most SEMVMX.
		s.nonce[i] = binary.LittleEndian.Uint16(rest[2*i:])&0x3fff | 0x4000
	}
}

// sign makes the keys and the nonce of a segment from its UUID, which strangers do not know, and
// the number of its inode, which a peer cannot choose: who may write a segment may give it the
// UUID of another one, and would have that one's set removed with it.
func sign(uuid [16]byte, inode uint64) [sha256.Size]byte {
	return sha256.Sum256(binary.LittleEndian.AppendUint64(uuid[:], inode))
}

// state is what a set turns out to be.
type state int

const (
	gone    state = iota
	foreign       // or one that we may not touch
	begun         // ours, without a nonce: its maker was killed, or somebody has spoiled it
	ready         // ours
)

// mark are permission bits that mean nothing to the kernel. A set with them was made for a
// segment, and nobody else makes such sets.
const mark = 0o111

// inspect only reads. owner is the user id of the segment's file; negative: a set without a
// nonce is not ours.
func (s *semset) inspect(id, owner int) state {
	perm, e := sys.stat(id)
	switch {
	case e == unix.EINVAL || e == unix.EIDRM:
		return gone
	case e != 0 || !slices.Contains(s.keys[:], uint32(perm.Key)):
		return foreign
	}
	value := func(num int) (int, unix.Errno) { return sys.ctl(id, num, cmdGetVal, 0) }
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
	maker := int(perm.Cuid)
	if owner < 0 || perm.Mode&mark != mark || maker != owner && maker != 0 && maker != unix.Geteuid() {
		return foreign
	}
	return begun
}

// trustFor is how long a set that was found to be ours is believed to be. The kernel gives an id
// to another set after some millions, which takes seconds.
const trustFor = 5 * time.Millisecond

// started is what times are told from.
var started = time.Now()

// current returns the set to be used now.
func (s *semset) current() (set layout.SemaphoreSet, ok bool) {
	set = s.at.Set.Load()
	now := int64(time.Since(started))
	switch {
	case !set.Present():
		return set, false
	case set == s.known.Load() && now-s.looked.Load() < int64(trustFor):
	case s.inspect(set.ID(), -1) != ready:
		return set, false
	default:
		s.use(set)
	}
	return set, true
}

// last returns the set that was used before, whatever the segment says of it by now.
func (s *semset) last() (set layout.SemaphoreSet, ok bool) {
	set = s.known.Load()
	return set, set.Present() && s.inspect(set.ID(), -1) == ready
}

// use notes that a set was just found to be ours.
func (s *semset) use(set layout.SemaphoreSet) {
	s.looked.Store(int64(time.Since(started)))
	s.known.Store(set)
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

var errContested = fmt.Errorf("contested")

// find looks for the set at each of its keys.
func (s *semset) find(least state, owner int, f func(id int, key uint32, is state) error) error {
	for _, key := range s.keys {
		id, e := sys.get(int32(key), 0, 0)
		if e != 0 {
			continue
		}
		if is := s.inspect(id, owner); is >= least {
			if err := f(id, key, is); err != nil {
				return err
			}
		}
	}
	return nil
}

// errFound ends find.
var errFound = errors.New("found")

// make goes through the steps of the package comment. The lock is held.
func (s *semset) make(uid, gid int, mode uint32) error {
	if ns := namespace(); ns != 0 {
		s.at.Namespace.Store(ns) // 1
		killpoint.At(killpoint.NamespaceStored)
	}
	// One that is ready, at whatever key, is in use: a second one would part those who sleep
	// from those who wake them.
	for _, least := range []state{ready, begun} { // 2
		err := s.find(least, uid, func(id int, key uint32, is state) error {
			if is < ready {
				is = s.fill(id, uid, gid, mode)
			}
			if is < ready {
				return nil
			}
			s.store(id, key)
			return errFound
		})
		if err == errFound {
			return nil
		}
	}
	for _, key := range s.keys {
		id, e := sys.get(int32(key), setSize, unix.IPC_CREAT|unix.IPC_EXCL|mark|int(mode)) // 3
		killpoint.At(killpoint.SemaphoresMade)
		if e == unix.EEXIST {
			continue // somebody else's
		}
		if e != 0 {
			return &SetError{"semget", key, e}
		}
		if s.fill(id, uid, gid, mode) == ready {
			s.store(id, key)
			return nil
		}
	}
	return &SetError{"making", s.keys[0], errContested}
}

// store tells the others which set it is.
func (s *semset) store(id int, key uint32) {
	s.at.Key.Store(key)
	killpoint.At(killpoint.KeyStored)
	set := layout.PackSemaphoreSet(s.at.Set.Load().Generation()+1, id)
	s.at.Set.Store(set) // 6
	killpoint.At(killpoint.SetStored)
	s.use(set)
}

// fill makes a set that was begun ready.
func (s *semset) fill(id, uid, gid int, mode uint32) state {
	// So that whoever may write the file may use the set, whoever of them made it. Where
	// an id means nothing in our user namespace, it stays with us.
	_ = sys.give(id, uid, gid, mark|mode) // 4
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

// Reachable returns a [*NamespaceError] if a segment with that configuration has a semaphore set
// in another IPC namespace, where Remove would find nothing.
func Reachable(cfg layout.Config, at *layout.Semaphores) error {
	if cfg.Doorbell != layout.SysV {
		return nil
	}
	s := semset{at: at}
	return s.here()
}

// Remove removes the semaphore set of a segment with that configuration and that file, if there
// is one and it is recognised. The caller makes sure that nobody uses the segment. Removing again
// does nothing, and so does removing from another IPC namespace, where the set is out of reach. What
// the segment says of namespaces is not believed: a set that can be found here is here.
// The error is a [*SetError]: EPERM for who is neither root nor the owner.
func Remove(cfg layout.Config, at *layout.Semaphores, file File) error {
	if cfg.Doorbell != layout.SysV {
		return nil
	}
	var s semset
	s.init(cfg, file.Inode, at)
	// What the segment says of it does not matter: a peer may have written anything.
	err := s.find(begun, file.Owner, func(id int, key uint32, _ state) error {
		_, e := sys.ctl(id, 0, unix.IPC_RMID, 0)
		if e != 0 && e != unix.EINVAL && e != unix.EIDRM {
			return &SetError{"removal", key, e}
		}
		killpoint.At(killpoint.SemaphoresRemoved)
		return nil
	})
	if err != nil {
		return err
	}
	if s.here() == nil {
		at.Set.Store(at.Set.Load().Gone())
		at.Key.Store(0)
	}
	return nil
}
