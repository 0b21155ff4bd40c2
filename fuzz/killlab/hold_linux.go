package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

func init() { roles["hold"] = hold }

// What a child with the role hold is, in args.Number.
const (
	holdConsumer = 1 << iota // else a producer
	holdWaits                // WaitForRole
	holdCreates              // opens or creates, else opens only
)

// What the lab wants of it, in its word command.
const (
	holdGo    = 1 + iota // open
	holdWork             // send: only the first producers are told, so that there is much to come when they go
	holdLeave            // close, at once
	holdEmpty            // close, when nothing is left
)

// holdRefused is the phase behind attached: somebody else has the role.
const holdRefused = attached + 1

// holdCount is how much one producer sends at most, so that all there is to receive in
// one round fits into one journal.
const holdCount = 2500

// hold takes a role in a ring and does its work until it is told to leave.
func hold(ctx context.Context, a args, j *journal) error {
	j.Set(phase, running)
	j.Await(command, holdGo, labs.ChildLimit)
	o := a.options()
	if a.Number&holdCreates != 0 {
		o = contestOptions(a.Kind)
		o.Dir, o.Mode = a.Dir, shmring.ModeOpenOrCreate
	}
	o.WaitForRole, o.KeepStream = a.Number&holdWaits != 0, true
	rng := rand.New(rand.NewPCG(a.Seed, 0))
	if a.Number&holdConsumer != 0 {
		return holdAsConsumer(ctx, a, o, j, rng)
	}
	return holdAsProducer(ctx, a, o, j, rng)
}

// lost is a failed open: being refused is the end of a child that was not to wait.
func (j *journal) lost(o *shmring.Options, err error) error {
	var busy *shmring.BusyError
	if o.WaitForRole || !errors.As(err, &busy) {
		return err
	}
	j.refused(busy.PID)
	j.Set(phase, holdRefused)
	return nil
}

func holdAsProducer(ctx context.Context, a args, o *shmring.Options, j *journal, rng *rand.Rand) error {
	j.opening(0, false)
	p, err := shmring.OpenProducer(ctx, a.Ring, o)
	if err != nil {
		return j.lost(o, err)
	}
	j.opened(p.Info(), 0)
	j.Set(phase, attached)
	if a.Number&holdCreates != 0 {
		j.Await(command, holdWork, labs.ChildLimit)
	}
	// Whoever waits for room is told to leave like everybody else.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		j.Await(command, holdLeave, labs.ChildLimit)
		stop()
	}()
	s := &sender{p: p, a: a, j: j, most: p.MaxMessage()}
	for seq := uint64(0); j.Get(command) < holdLeave; {
		if seq+batchMost > holdCount {
			j.Await(command, holdLeave, labs.ChildLimit)
			break
		}
		send := s.some
		if rng.IntN(8) == 0 {
			send = s.slowly
		}
		n, err := send(ctx, rng, seq)
		seq += n
		if err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	j.closing()
	return p.Close()
}

// slowly sends one message, and has the claim for long enough to die with it.
func (s *sender) slowly(ctx context.Context, rng *rand.Rand, seq uint64) (uint64, error) {
	msg := s.message(seq)
	c, err := s.p.Claim(ctx, len(msg))
	if err != nil {
		return 0, err
	}
	for end := monotonic() + int64(rng.IntN(50_000)); monotonic() < end; {
	}
	copy(c.Bytes(), msg)
	s.j.Put(tried, seq+1)
	if err := c.Commit(); err != nil {
		return 0, err
	}
	s.j.Put(sent, seq+1)
	return 1, nil
}

func holdAsConsumer(ctx context.Context, a args, o *shmring.Options, j *journal, rng *rand.Rand) error {
	j.opening(0, true)
	c, err := shmring.OpenConsumer(ctx, a.Ring, o)
	if err != nil {
		return j.lost(o, err)
	}
	j.opened(c.Info(), 0)
	j.Set(phase, attached)
	for j.Get(command) != holdLeave {
		err := someOf(ctx, c, rng, j)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			if j.Get(command) == holdEmpty && c.Used() == 0 {
				j.closing()
				return c.Close()
			}
		case expected(err) != nil:
			return err
		}
		if rng.IntN(100) == 0 {
			time.Sleep(time.Duration(rng.IntN(200)) * time.Microsecond) // let the ring run full now and then
		}
	}
	j.closing()
	return c.Close()
}
