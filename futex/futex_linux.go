package futex

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Slice is the longest single sleep of a wait with stop words where futex_waitv is
// refused: the delay with which a stop is then noticed.
const Slice = 5 * time.Millisecond

// Wait sleeps while *word equals old and no stop word is set: until [Wake], until
// [Stop] on one of the stop words, or until limit has passed (limit ≤ 0: at once,
// after one comparison). It may return Woken without cause.
//
// word may lie in shared memory and must be reached through the same file by both
// sides; stop words are this process's own memory, zero until [Stop], at most four.
// Any number of goroutines may wait on one word. The error is not nil only when
// waiting is impossible: EFAULT when the memory behind word is gone,
// [ErrUnsupported].
func Wait(word *atomic.Uint32, old uint32, limit time.Duration, stops ...*atomic.Uint32) (Result, error) {
	if len(stops) > maxStops {
		panic(fmt.Sprintf("futex: %d stop words, at most %d", len(stops), maxStops))
	}
	if stopped(stops) {
		return Stopped, nil
	}
	deadline := after(limit)
	if len(stops) == 0 {
		return result(wait(word, old, &deadline))
	}
	if VectorRefused() == nil {
		r, err := result(waitVector(word, old, &deadline, stops))
		if r == Woken && stopped(stops) {
			return Stopped, err
		}
		return r, err
	}
	return waitSliced(word, old, deadline, stops)
}

func waitSliced(word *atomic.Uint32, old uint32, deadline unix.Timespec, stops []*atomic.Uint32) (Result, error) {
	for {
		slice := after(Slice)
		last := deadline.Nano() <= slice.Nano()
		if last {
			slice = deadline
		}
		errno := wait(word, old, &slice)
		r, err := result(errno)
		switch {
		case stopped(stops):
			return Stopped, err
		case errno == unix.EINTR:
			// A signal ends a slice early, and not the wait: the runtime sends them to
			// preempt, and a Stop that is on its way would be missed.
		case r != TimedOut || last || err != nil:
			return r, err
		}
	}
}

// Wake wakes up to n sleepers on a shared word and returns how many it woke. It
// never blocks.
func Wake(word *atomic.Uint32, n int) (int, error) {
	return wake(word, n, 0)
}

// WakeAll is Wake for everyone: the right number whenever a peer could wait on the
// word without being asked to and swallow a wake meant for another.
func WakeAll(word *atomic.Uint32) error {
	_, err := Wake(word, math.MaxInt32)
	return err
}

// Stop sets a stop word and ends every wait that was given it, now or later.
func Stop(stop *atomic.Uint32) {
	stop.Store(1)
	wake(stop, math.MaxInt32, private) // without sleepers there is nobody to miss it
}

func stopped(stops []*atomic.Uint32) bool {
	for _, s := range stops {
		if s.Load() != 0 {
			return true
		}
	}
	return false
}

func result(errno unix.Errno) (Result, error) {
	switch errno {
	case 0, unix.EAGAIN, unix.EINTR:
		return Woken, nil
	case unix.ETIMEDOUT:
		return TimedOut, nil
	case unix.ENOSYS, unix.EPERM:
		return TimedOut, fmt.Errorf("%w: %w", ErrUnsupported, errno)
	}
	return TimedOut, fmt.Errorf("futex: wait: %w", errno)
}

func after(d time.Duration) unix.Timespec {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail for this clock
	if d <= 0 {
		return now
	}
	sum := now.Nano() + int64(d)
	if sum < 0 {
		sum = math.MaxInt64
	}
	return unix.NsecToTimespec(sum)
}

// Refused tells why futexes cannot be used here at all; nil when they can. The
// answer is found once.
var Refused = sync.OnceValue(func() error {
	var w atomic.Uint32
	if _, err := Wake(&w, 1); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	past := after(0)
	if _, err := result(wait(&w, 1, &past)); err != nil {
		return err
	}
	runtime.KeepAlive(&w)
	return nil
})

// VectorRefused tells why futex_waitv (Linux 5.16) is not used for waits with stop
// words, which then sleep in slices; nil when it is. The answer is found once.
var VectorRefused = sync.OnceValue(func() error {
	var w, s atomic.Uint32
	past := after(0)
	errno := waitVector(&w, 1, &past, []*atomic.Uint32{&s})
	if errno == unix.EAGAIN || errno == unix.ETIMEDOUT {
		return nil
	}
	return fmt.Errorf("futex_waitv: %w", errno)
})
