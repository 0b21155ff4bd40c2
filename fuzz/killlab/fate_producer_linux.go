package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

func init() { roles["streams"] = streams }

// livesShift leaves a child room for the streams that it opens one after the other.
const livesShift = 12

// author opens streams, sends, and ends them, and keeps its journal right.
type author struct {
	a     args
	j     *journal
	rng   *rand.Rand
	p     *shmring.Producer
	seq   uint64
	over  bool           // the stream was ended
	claim *shmring.Claim // that is open, or nil
}

func newAuthor(a args, j *journal) *author {
	s := &author{a: a, j: j, rng: rand.New(rand.NewPCG(a.Seed, uint64(a.Life)))}
	s.a.Life <<= livesShift
	return s
}

func (s *author) add(flags uint32, index uint32, seq uint64) {
	s.j.add(entry{at: monotonic(), source: s.a.source(), flags: flags, index: index, seq: seq, record: s.j.Get(tried)})
}

// attach begins a stream. keep: its Close will leave it open.
func (s *author) attach(ctx context.Context, keep bool) error {
	if s.a.Life&(1<<livesShift-1) != 0 {
		s.add(entryCounts, 0, s.j.Get(sent))
	}
	s.a.Life++
	s.j.Put(tried, 0)
	s.j.Put(sent, 0)
	s.seq, s.over = 0, false
	s.add(entryBegun, 0, 0)
	o := s.a.options()
	o.KeepStream = keep
	p, err := shmring.OpenProducer(ctx, s.a.Ring, o)
	if err != nil {
		return err
	}
	s.add(entryAttached, uint32(p.Info().Participant), uint64(p.Info().Epoch))
	s.p = p
	return nil
}

// send sends one message or a few.
func (s *author) send(ctx context.Context) error {
	by := &sender{p: s.p, a: s.a, j: s.j, most: min(s.p.MaxMessage(), 400)}
	n, err := by.some(ctx, s.rng, s.seq)
	s.seq += n
	return err
}

// try sends one message if there is room.
func (s *author) try() error {
	by := &sender{p: s.p, a: s.a, j: s.j, most: smallest}
	s.j.Put(tried, s.seq+1)
	err := s.p.TrySend(by.message(s.seq))
	switch {
	case err == nil:
		s.seq++
		s.j.Put(sent, s.seq)
	case errors.Is(err, shmring.ErrFull) || errors.Is(err, shmring.ErrContended):
		err = nil
	}
	return err
}

// hold opens a claim.
func (s *author) hold() error {
	c, err := s.p.TryClaim(smallest)
	if err == nil {
		s.claim = &c
	} else if errors.Is(err, shmring.ErrFull) || errors.Is(err, shmring.ErrContended) {
		err = nil
	}
	return err
}

// commit ends the claim, if it is open.
func (s *author) commit() error {
	if s.claim == nil {
		return nil // there was no room
	}
	fill(s.claim.Bytes(), s.a.source(), s.seq)
	s.j.Put(tried, s.seq+1)
	err := s.claim.Commit()
	s.claim = nil
	if err == nil {
		s.seq++
		s.j.Put(sent, s.seq)
	}
	return err
}

// end ends the stream; closing: by Close, which leaves it if it was opened to be left.
func (s *author) end(f shmring.Fate, closing bool) error {
	if s.claim != nil && !closing {
		s.claim.Abort()
		s.claim = nil
	}
	news := !s.over
	if news {
		s.add(entryEnding, uint32(f), 0)
	}
	var err error
	switch {
	case closing:
		err = s.p.Close()
		s.p, s.claim = nil, nil
	case f == shmring.FateFailed:
		err = s.p.FailSend()
	default:
		err = s.p.CloseSend()
	}
	if err == nil && news {
		s.add(entryEnded, uint32(f), 0)
		s.over = true
	}
	return err
}

// garbage is what a process that has forgotten its handles goes on making.
var garbage [64][]byte

// litter lets the collector run.
func litter(times int) {
	debug.SetGCPercent(1)
	for i := range times {
		for k := range 200 {
			garbage[(i+k)%len(garbage)] = make([]byte, 16<<10)
		}
		debug.FreeOSMemory() // which collects
		time.Sleep(time.Millisecond)
	}
}

// until is a context that ends when the lab gives its next command.
func (j *journal) until(ctx context.Context, v uint64) context.Context {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		j.Await(command, v, labs.ChildLimit)
		stop()
	}()
	return ctx
}

// streams opens streams, sends and ends them, one after the other, until it is told to stop.
func streams(ctx context.Context, a args, j *journal) error {
	s := newAuthor(a, j)
	ctx = j.until(ctx, 1)
	j.Put(ownPID, uint64(os.Getpid()))
	j.Set(phase, running)
	for n := 0; ; n++ {
		keep := s.rng.IntN(4) == 0
		if err := s.attach(ctx, keep); err != nil {
			return cancelled(err)
		}
		j.Set(phase, attached)
		for range s.rng.IntN(20) {
			if err := s.send(ctx); err != nil {
				if cancelled(err) != nil {
					return err
				}
				break
			}
		}
		if n >= 1<<livesShift-2 || j.Get(command) != 0 {
			return s.close(keep)
		}
		if s.rng.IntN(3) == 0 { // longer
			s.rest(ctx)
		}
		if err := s.finish(keep); err != nil {
			return err
		}
		if s.rng.IntN(4) != 0 {
			s.rest(ctx)
		}
	}
}

// rest lets the lab's other children do something.
func (s *author) rest(ctx context.Context) {
	select {
	case <-time.After(time.Duration(s.rng.IntN(2000)) * time.Microsecond):
	case <-ctx.Done():
	}
}

// finish ends a stream somehow, or forgets it to be ended by Close.
func (s *author) finish(keep bool) error {
	switch s.rng.IntN(4) {
	case 0:
		if err := s.end(shmring.FateFailed, false); err != nil {
			return err
		}
	case 1:
		if err := s.end(shmring.FateEnded, false); err != nil {
			return err
		}
	}
	return s.close(keep)
}

func (s *author) close(keep bool) error {
	f := shmring.FateEnded
	if keep {
		f = shmring.FateLeft
	}
	return s.end(f, true)
}

// cancelled makes nil of the end of a context.
func cancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
