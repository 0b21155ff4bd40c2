package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// receiver is the consumer of a fixture: a goroutine of the lab's that calls Receive when
// the lab wants it to and makes no call otherwise, or a child with the role listen.
type receiver struct {
	l *lab

	c     *shmring.Consumer
	ask   chan struct{}
	heard chan entry
	asked bool
	ended sync.WaitGroup
	mu    sync.Mutex // skips
	err   error      // of the call that answered with entryFailed

	child *child
	queue []entry

	skips []shmring.SkippedClaim // what OnSkip was called with, since skipped was asked
	all   uint64                 // how many in all
}

// String is for the report.
func (e entry) String() string {
	switch {
	case e.flags&entryDead != 0:
		return fmt.Sprintf("the death of producer %d", e.index)
	case e.flags&entryFailed != 0:
		return "an error"
	case e.flags&entryTorn != 0:
		return "a torn message"
	}
	return fmt.Sprintf("message %d of %v", e.seq, e.source)
}

// here makes the lab itself the consumer.
func (l *lab) here(ring string, o shmring.Options) (*receiver, bool) {
	s := &receiver{l: l, ask: make(chan struct{}, 1), heard: make(chan entry, 1)}
	o.Dir, o.Mode = l.Rings, shmring.ModeOpenOnly
	o.OnSkip = func(k shmring.SkippedClaim) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.skips = append(s.skips, k)
		s.all++
	}
	c, err := shmring.OpenConsumer(l.Ctx, ring, &o)
	if !l.must(err) {
		return nil, false
	}
	s.c = c
	s.ended.Go(s.serve)
	return s, true
}

// there makes a child the consumer.
func (l *lab) there(ring string, change func(*exec.Cmd)) (*receiver, bool) {
	c, err := l.spawn(args{Role: "listen", Ring: ring}, change)
	if !l.must(err) || !l.reach(c, attached) {
		return nil, false
	}
	return &receiver{l: l, child: c}, true
}

// serve makes one call for each question.
func (s *receiver) serve() {
	buf := make([]byte, s.c.MaxMessage())
	for range s.ask {
		n, err := s.c.Receive(context.Background(), buf) // Close ends it
		e := entry{flags: entryFailed}
		var lost *shmring.StreamError
		switch {
		case err == nil:
			e = hear(buf[:n])
		case errors.As(err, &lost):
			e = deadEntry(lost)
		default:
			s.err = err
		}
		s.heard <- e
	}
}

// begin sees to it that the consumer is in a call or on its way into one.
func (s *receiver) begin() {
	if s.c != nil && !s.asked {
		s.ask <- struct{}{}
		s.asked = true
	}
}

// next returns what comes next, and false when nothing comes.
func (s *receiver) next() (entry, bool) {
	if s.c == nil {
		for end := time.Now().Add(labs.Patience); ; time.Sleep(50 * time.Microsecond) {
			s.drain()
			if len(s.queue) > 0 {
				e := s.queue[0]
				s.queue = s.queue[1:]
				return e, true
			}
			if time.Now().After(end) || s.l.Ctx.Err() != nil {
				return entry{}, false
			}
		}
	}
	s.begin()
	select {
	case e := <-s.heard:
		s.asked = false
		return e, true
	case <-time.After(labs.Patience):
		return entry{}, false
	}
}

// drain takes over what the child has noted.
func (s *receiver) drain() {
	s.child.j.drain(func(e entry) {
		if e.flags&entrySkipped == 0 {
			s.queue = append(s.queue, e)
			return
		}
		s.skips = append(s.skips, shmring.SkippedClaim{Position: shmring.Position{Record: e.record}, Slots: int(e.seq),
			PID: int(e.index)})
		s.all++
	})
}

// silent reports whether nothing has come: no message, no death, and no skip.
func (s *receiver) silent() bool {
	if s.c == nil {
		s.drain()
		return len(s.queue) == 0 && len(s.skips) == 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heard) == 0 && len(s.skips) == 0
}

// skipped returns what was passed over since it was asked last.
func (s *receiver) skipped() []shmring.SkippedClaim {
	if s.c == nil {
		s.drain()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.skips
	s.skips = nil
	return list
}

// looked waits until the consumer of a child has looked after the dead twice more.
func (s *receiver) looked() bool {
	now := s.child.j.Get(looks)
	return s.l.until("a consumer that looks after the dead", func() bool { return s.child.j.Get(looks) >= now+2 })
}

// count compares the counter with the calls of OnSkip.
func (s *receiver) count() bool {
	var n uint64
	switch {
	case s.c != nil:
		n = s.c.Stats().Skipped
	case s.looked():
		n = s.child.j.Get(counted)
	default:
		return false
	}
	s.skipped()
	if n != s.all {
		s.l.fault(&s.l.r.Other, "Stats().Skipped is %d, OnSkip was called %d times", n, s.all)
	}
	return n == s.all
}

// close gives everything back; well: a child must end by itself.
func (s *receiver) close(well bool) {
	switch {
	case s.c != nil:
	case well:
		s.child.finish()
		return
	default:
		s.child.discard()
		return
	}
	s.l.must(s.c.Close())
	close(s.ask)
	s.ended.Wait()
}
