package machine

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/pin"
)

// Watch notes when a processor did nothing for anybody: a thread on each, which wants to
// run twice in a millisecond, did not. That happens where a virtual machine is stopped,
// of which its own kernel knows nothing.
type Watch struct {
	over    atomic.Bool
	threads sync.WaitGroup
	mu      sync.Mutex
	gaps    map[int][]gap // by processor
}

type gap struct{ from, to int64 }

const (
	watchTick = 500 * time.Microsecond
	watchGap  = 2 * time.Millisecond // what counts
)

// NewWatch begins to watch all processors that this process may use.
func NewWatch() *Watch {
	w := &Watch{gaps: map[int][]gap{}}
	for _, cpu := range pin.CPUs() {
		w.threads.Go(func() { w.run(cpu) })
	}
	return w
}

func (w *Watch) run(cpu int) {
	if pin.Thread(cpu) != nil { // for ever: the thread is of no use to others
		return
	}
	tick := unix.NsecToTimespec(int64(watchTick))
	for last := Monotonic(); !w.over.Load(); {
		_ = unix.Nanosleep(&tick, nil)
		now := Monotonic()
		if now-last > int64(watchGap) {
			w.mu.Lock()
			w.gaps[cpu] = append(w.gaps[cpu], gap{last, now})
			w.mu.Unlock()
		}
		last = now
	}
}

// Close ends the watch.
func (w *Watch) Close() {
	w.over.Store(true)
	w.threads.Wait()
}

// Owned is how much of a measurement is explained neither by others that wanted the
// processors nor by a processor that stood still. It is asked a moment after the end.
func (w *Watch) Owned(begin, end Moment) time.Duration {
	took, owned := begin.Until(end)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, gaps := range w.gaps {
		still := int64(0)
		for _, g := range gaps {
			still += max(0, min(g.to, end.At)-max(g.from, begin.At))
		}
		owned = min(owned, max(0, took-time.Duration(still)))
	}
	return owned
}
