package doorbell

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/layout"
)

// Pieces of a nap: 1/napShare of the time since the word last changed, within bounds.
// In a long wait they cost 200 timers a second.
const (
	napLeast = 50 * time.Microsecond
	napMost  = 5 * time.Millisecond
	napShare = 8
)

// napBell sleeps by timers and finds out by looking. Within a process, Wake and Stop
// end naps at once.
type napBell struct {
	word *atomic.Uint32

	mu      sync.Mutex
	napping int
	alarm   chan struct{} // closed, and replaced, by whoever ends all naps
	seen    uint32        // the word that was last slept on
	since   time.Time     // when it was first
}

var _ Bell = (*napBell)(nil)

func newNap(word *atomic.Uint32) *napBell {
	return &napBell{word: word, alarm: make(chan struct{})}
}

func (b *napBell) Kind() layout.Doorbell { return layout.Poll }

func (b *napBell) Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (bool, error) {
	begin := time.Now()
	since := b.lieDown(old, begin)
	defer b.getUp()
	var timer *time.Timer
	for {
		// Before looking: who changes a word and then raises the alarm is either seen or heard.
		alarm := b.listen()
		if b.word.Load() != old || stopped(stops) {
			return false, nil
		}
		now := time.Now()
		left := limit - now.Sub(begin)
		if left <= 0 {
			return true, nil
		}
		piece := min(max(now.Sub(since)/napShare, napLeast), napMost, left)
		if timer == nil {
			timer = time.NewTimer(piece)
			defer timer.Stop()
		} else {
			timer.Reset(piece)
		}
		select {
		case <-timer.C:
		case <-alarm:
		}
	}
}

// lieDown returns since when the word has been what it is.
func (b *napBell) lieDown(old uint32, now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.napping++
	if b.seen != old || b.since.IsZero() {
		b.seen, b.since = old, now
	}
	return b.since
}

func (b *napBell) getUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.napping--
}

func (b *napBell) listen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.alarm
}

func (b *napBell) raise() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.napping > 0 {
		close(b.alarm)
		b.alarm = make(chan struct{})
	}
}

func (b *napBell) Wake(uint32) { b.raise() }

func (b *napBell) Stop(stop *atomic.Uint32) {
	stop.Store(1)
	b.raise()
}
