package shm

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"sync"
)

// Segment is memory that other handles, mostly in other processes, hold too: an
// open and mapped file, or a piece of heap (see [Heap]). Its methods may be called
// from any number of goroutines at once. Who has a Segment of a file is attached:
// Remove refuses until it is closed, or its process has died.
//
// A Segment that is forgotten stays open: its locks say that its process is alive, and that
// is so until it is closed or the process ends, not until the garbage collector runs.
type Segment struct {
	name    string
	path    string
	mem     []byte
	fixed   []byte
	ino     uint64
	applied Applied

	// mu is held over every system call on the descriptor, so that Close cannot hand its
	// number to another file meanwhile.
	mu     sync.Mutex
	back   backing
	owned  map[int]struct{} // the lock bytes that this handle holds
	closed bool
}

// backing is what differs between a file and heap memory. All calls are made under
// Segment.mu, and none after a close that returned true.
type backing interface {
	tryLock(i int) (bool, error)
	unlock(i int) error
	held(i int) (bool, error)
	alone(leave bool) (bool, error)
	replace(ctx context.Context, size int64, format func(mem []byte) error) error
	use(kind Locks) error
	check() error
	lost() error
	forsake()
	discard() error
	notify()
	onNotify(f func()) (stop func(), err error)
	heard()
	owner() (uid, gid int, mode fs.FileMode, err error)
	reopen() (*Segment, error)
	// close reports whether the backing is gone; if not, it is as good as before. last
	// may be nil.
	close(s *Segment, last func(mem []byte)) (bool, error)
}

// Bytes returns the whole segment. The slice is the same at every call. After Close it
// shows private zeros (of a heap segment, still the shared bytes), and must not be used
// once s is unreachable; [runtime.KeepAlive] helps where it is not obvious.
func (s *Segment) Bytes() []byte { return s.mem }

// Fixed returns a copy of the first Options.Fixed bytes as they were when the segment was
// created, or judged by Options.Judge: who goes by them instead of by Bytes cannot be shown
// one thing and later another. Nobody may change it. It is nil for a heap segment.
func (s *Segment) Fixed() []byte { return s.fixed }

// Inode returns the number of the file's inode, by which nobody can take the file for another that
// exists, and 0 for a heap segment.
func (s *Segment) Inode() uint64 { return s.ino }

// Name returns the name given to Create or Open, and "heap" for a heap segment.
func (s *Segment) Name() string { return s.name }

// Path returns the absolute path of the file, and "" for a heap segment.
func (s *Segment) Path() string { return s.path }

// Applied returns how the segment was made and which requests were granted.
func (s *Segment) Applied() Applied {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

// Reopen returns another handle on the same bytes, as another process would have
// it: its own open file description, its own mapping at another address, its own
// locks, and the same Options. For a heap segment the bytes are the same memory
// and only the locks are separate. It works on an orphaned file too. It fails with
// an [*Error]: fs.ErrClosed, ErrTruncated, or what the kernel said.
func (s *Segment) Reopen() (*Segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.fail("reopen", fs.ErrClosed)
	}
	return s.back.reopen()
}

// TryLock takes lock byte i, i ≥ 0, for this handle, and reports whether it did;
// false without an error means that another handle has it. It never waits. The lock
// is held until Unlock, Close, or the death of the process, even while that process
// is a zombie. Since a handle cannot be in its own way, locking a byte it already
// holds is an error, ErrHeld. Other errors: fs.ErrInvalid for an index out of
// range, fs.ErrClosed, ErrUnsupported, and with flock those of making a file: ErrOrphaned
// where the segment has lost its name, ErrRefused where a stranger has put a file there.
func (s *Segment) TryLock(i int) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable("lock", i); err != nil {
		return false, err
	}
	if _, own := s.owned[i]; own {
		return false, s.failByte("lock", i, ErrHeld)
	}
	ok, err := s.back.tryLock(i)
	if err != nil {
		return false, s.failByte("lock", i, err)
	}
	if ok {
		s.owned[i] = struct{}{}
	}
	return ok, nil
}

// Unlock gives lock byte i back. Errors: ErrNotHeld if this handle does not hold
// it, fs.ErrInvalid, fs.ErrClosed.
func (s *Segment) Unlock(i int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable("unlock", i); err != nil {
		return err
	}
	if _, own := s.owned[i]; !own {
		return s.failByte("unlock", i, ErrNotHeld)
	}
	if err := s.back.unlock(i); err != nil {
		return s.failByte("unlock", i, err)
	}
	delete(s.owned, i)
	return nil
}

// Held reports whether another handle holds lock byte i. It is false for a byte that
// this handle holds itself. The answer may be old when it arrives: show it to
// people, decide by TryLock. Errors: fs.ErrInvalid, fs.ErrClosed, ErrUnsupported.
func (s *Segment) Held(i int) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable("query", i); err != nil {
		return false, err
	}
	held, err := s.back.held(i)
	if err != nil {
		return false, s.failByte("query", i, err)
	}
	return held, nil
}

// UseLocks makes the life locks of this handle be of the kind that the other handles on
// the segment use. Locks of two kinds do not exclude each other, and only those who know
// what the bytes mean can know the kind: Create tells it to format, and whoever opens
// calls UseLocks before the first TryLock, Held or Alone. Errors: [*LocksError] where
// another kind was told or the system lacks this one, after which the handle is good for
// nothing but Close; ErrHeld while a life lock is held; fs.ErrInvalid, fs.ErrClosed. For
// a heap segment it does nothing.
func (s *Segment) UseLocks(kind Locks) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.fail("lock", fs.ErrClosed)
	}
	if len(s.owned) > 0 && kind != s.applied.Locks {
		return s.fail("change the kind of life locks of", ErrHeld)
	}
	if err := s.back.use(kind); err != nil {
		return err
	}
	s.applied.Locks = kind
	return nil
}

// Alone reports whether no other handle is attached. If so, none can attach from now
// on until s is closed: Open waits, Remove gives ErrBusy. For a heap segment only
// handles that hold a lock count, and nobody is kept out. It waits, for a second at most,
// for a Remove that is under way. Errors: fs.ErrClosed, ErrUnsupported, ErrBusy (waited
// in vain), those of TryLock; of a sealed segment, which has no name that could be removed,
// ErrUnsupported.
func (s *Segment) Alone() (bool, error) { return s.alone(false) }

// Leave is Alone for a handle that is about to be closed: if it was not alone, it is
// attached no longer, so that of several who leave, one after the other under some life
// lock, exactly the last is told true, however long Close takes the others. After it,
// nothing but Close and what needs only a life lock is of use. Errors: as Alone.
func (s *Segment) Leave() (last bool, err error) { return s.alone(true) }

func (s *Segment) alone(leave bool) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, s.fail("lock", fs.ErrClosed)
	}
	alone, err := s.back.alone(leave)
	if err != nil {
		return false, s.fail("lock", err)
	}
	return alone, nil
}

// Replace puts a new file of size bytes in the place of the segment's file, under its name and
// with its owner, group and permission bits, in one step: whoever is killed in it, or fails,
// leaves the name to the old file. format gets the zeroed bytes of the new one and fills them in
// before it has the name; it is called again where the first way to make the file is refused. s
// itself stays what it was, the old file, which is nobody's then: what waits for its attach lock
// comes to the new one when s is closed. With life locks by flock s has none any more.
//
// The caller has been told by Alone that s is; else Replace panics. ctx ends the allocation of a
// large file. Errors: ErrOrphaned (the name means another file already), fs.ErrPermission (the
// file belongs to somebody else), fs.ErrClosed, the error of format, those of [Create] but
// fs.ErrExist; of a heap segment ErrUnsupported.
func (s *Segment) Replace(ctx context.Context, size int64, format func(mem []byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.fail("replace", fs.ErrClosed)
	}
	return s.back.replace(ctx, size, format)
}

// Check reports whether the file is still good: ErrOrphaned if the name by which it
// was opened does not lead to it any more, because it was removed, renamed, or another
// file put in its place; ErrTruncated if it is shorter than the mapping or has holes, in which
// case touching the missing pages raises SIGBUS; ErrChanged if it is longer, or its first bytes
// are not what they were (see [Options].Fixed); fs.ErrClosed after Close. It costs two system
// calls, and for a heap segment nothing. A process that may not search the directory any more
// is told of removal only. Where a file system does not tell how much of a file has memory,
// nobody tells of holes.
func (s *Segment) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.fail("check", fs.ErrClosed)
	}
	return s.back.check()
}

// Guard calls f, and returns nil. Where a page of Bytes is missing that f touches, because
// somebody has truncated the file, f ends there (its deferred functions run), Bytes shows private zeros from
// then on (see [Segment.Forsake]), and the error is that of Lost. A missing page of other memory
// is not its business, and neither are other panics. f must not be inside a method of s.
func (s *Segment) Guard(f func()) error {
	if guarded(s.Bytes(), f) {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.fail("use", fs.ErrClosed) // the pages are private already
	}
	err := s.back.lost()
	s.back.forsake()
	return err
}

// Lost tells what is wrong with the file, if addr lies in Bytes; nil: it does not. It is for who
// has recovered from a fault there. The error is a [*TruncatedError], or what fstat said.
func (s *Segment) Lost(addr uintptr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !contains(s.mem, addr):
		return nil
	case s.closed:
		return s.fail("use", fs.ErrClosed)
	}
	return s.back.lost()
}

// Forsake replaces the pages of Bytes by private zeros, as Close does, and keeps the rest of s: its
// locks above all. It is for a segment with missing pages: whoever else in this process
// is at work on Bytes meets no fault there any more. Of a heap segment it does nothing.
func (s *Segment) Forsake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.back.forsake()
	}
}

// Owner tells to whom the file belongs and what its permission bits are; of a heap
// segment, to this process. Errors: fs.ErrClosed, and what fstat said.
func (s *Segment) Owner() (uid, gid int, mode fs.FileMode, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, 0, 0, s.fail("stat", fs.ErrClosed)
	}
	return s.back.owner()
}

// Close detaches. A goroutine still at work on Bytes comes to no harm: first the
// pages are replaced in place by private zeros, then the descriptor is closed and
// the locks with it, so that nobody can see a lock of ours free while we can still
// store into the file. The address range is given back when s is collected. Close
// never unlinks. Closing again returns nil. In the rare case that the pages cannot
// be replaced (no memory), Close returns an [*Error], s stays open with its locks,
// and Close may be tried again.
func (s *Segment) Close() error { return s.CloseWith(nil) }

// CloseWith is Close with a last word: after the pages are gone from Bytes and before
// the locks go, it calls last with the whole segment at another address, where no
// goroutine that is still at work on Bytes can reach it. The slice is valid until last
// returns, and last must call no method of s; notify is what [Segment.Notify] would do.
// Where the file was truncated (ErrTruncated) or no second mapping is to be had, last is
// not called and CloseWith returns an [*Error], but s is closed all the same. On a closed s
// it does nothing. Of a heap segment, whose bytes stay, last gets the same memory.
func (s *Segment) CloseWith(last func(mem []byte, notify func())) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	var use func([]byte)
	if last != nil {
		use = func(mem []byte) { last(mem, s.back.notify) }
	}
	gone, err := s.back.close(s, use)
	if gone {
		s.closed = true
		s.owned = nil
	}
	return err
}

// Discard is Close for who has shown Bytes to nobody who may still use them: the address range
// is given back at once, and not when s is collected, so that who is refused again and again
// does not run out of it. Bytes is nil then.
func (s *Segment) Discard() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed, s.owned, s.mem = true, nil, nil
	return s.back.discard()
}

func (s *Segment) usable(verb string, i int) error {
	if s.closed {
		return s.failByte(verb, i, fs.ErrClosed)
	}
	if i < 0 || int64(i) > math.MaxInt64-lifeBase {
		return s.failByte(verb, i, fs.ErrInvalid)
	}
	return nil
}

func (s *Segment) failByte(verb string, i int, err error) error {
	return s.fail(fmt.Sprintf("%s byte %d of", verb, i), err)
}

func (s *Segment) fail(op string, err error) error {
	where := s.path
	if where == "" {
		where = s.name
	}
	return fail(op, where, err, "")
}

// Notify lets everyone know who has asked for it by [Segment.OnNotify], on any handle of
// the same file in any process, by reading one byte of the file. It never blocks. On a
// closed handle it does nothing.
func (s *Segment) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.back.notify()
	}
}

// OnNotify calls f after every [Segment.Notify] of the same file from now on, once for
// several if they come quickly, and perhaps for nothing, until stop. f is called by a
// goroutine that others depend on: it must not block, nor call s. The error tells what
// the system lacks, see package internal/watch; fs.ErrClosed after Close, before which
// stop should be called.
func (s *Segment) OnNotify(f func()) (stop func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.fail("watch", fs.ErrClosed)
	}
	if stop, err = s.back.onNotify(f); err != nil {
		return nil, s.fail("watch", err)
	}
	return stop, nil
}

// Heard tells that a call of a function given to [Segment.OnNotify] was of use. As long as no such
// call of this process is, they come up to a millisecond late: whoever may read the file can cause them.
// Unlike the other methods it may be called by that function.
func (s *Segment) Heard() { s.back.heard() }
