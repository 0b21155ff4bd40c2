package doorbell

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/layout"
)

// A sleeper looks again after 1/pollShare of the time since the word last changed, within bounds.
// In a long wait that costs 200 timers a second.
const (
	pollLeast = 50 * time.Microsecond
	pollMost  = 5 * time.Millisecond
	pollShare = 8
)

// pollBell sleeps by timers and finds out by looking. Within a process, Wake and Stop
// end sleeps at once.
type pollBell struct {
	word *atomic.Uint32

	mu       sync.Mutex
	sleepers int
	alarm    chan struct{} // closed, and replaced, by whoever ends all sleeps
	seen     uint32        // the word that was last slept on
	since    time.Time     // when it was first
}

var _ Bell = (*pollBell)(nil)

func newPoll(word *atomic.Uint32) *pollBell {
	return &pollBell{word: word, alarm: make(chan struct{})}
}

func (b *pollBell) Kind() layout.Doorbell { return layout.Poll }

func (b *pollBell) Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (bool, error) {
	begin := time.Now()
	since := b.enter(old, begin)
	defer b.leave()
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
		piece := min(max(now.Sub(since)/pollShare, pollLeast), pollMost, left)
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

// enter counts a sleeper in. It returns since when the word has been what it is.
func (b *pollBell) enter(old uint32, now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sleepers++
	if b.seen != old || b.since.IsZero() {
		b.seen, b.since = old, now
	}
	return b.since
}

func (b *pollBell) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sleepers--
}

func (b *pollBell) listen() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.alarm
}

func (b *pollBell) raise() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sleepers > 0 {
		close(b.alarm)
		b.alarm = make(chan struct{})
	}
}

func (b *pollBell) Wake(uint32) { b.raise() }

func (b *pollBell) Stop(stop *atomic.Uint32) {
	stop.Store(1)
	b.raise()
}
