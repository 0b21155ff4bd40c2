package cli

import (
	"sync/atomic"
	"time"
)

const (
	// stillAfter is how long nothing moves before people are told why.
	stillAfter = time.Second
	// stillAgain is after how long they are told the same again.
	stillAgain = time.Minute
)

// Still tells people why nothing moves.
type Still struct {
	since atomic.Int64 // when the present wait began, in nanoseconds; 0: none
	done  chan struct{}
	ended chan struct{}
}

// NewStill begins to look. why says what a wait is for, in one line; empty: nothing to say.
func NewStill(out *Out, why func() string) *Still {
	s := &Still{done: make(chan struct{}), ended: make(chan struct{})}
	go s.look(out, why)
	return s
}

func (s *Still) look(out *Out, why func() string) {
	defer close(s.ended)
	tick := time.NewTicker(stillAfter / 2)
	defer tick.Stop()
	var told string
	var when time.Time
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		since := s.since.Load()
		if since == 0 || time.Now().UnixNano()-since < int64(stillAfter) {
			continue
		}
		text := why()
		if text == "" || s.since.Load() != since || text == told && time.Since(when) < stillAgain {
			continue
		}
		told, when = text, time.Now()
		out.Remark("%s", text)
	}
}

// Begin and End are called around each wait.
func (s *Still) Begin() { s.since.Store(time.Now().UnixNano()) }

// End is called when it is over.
func (s *Still) End() { s.since.Store(0) }

// Close ends it. Nothing is told after that.
func (s *Still) Close() {
	close(s.done)
	<-s.ended
}
