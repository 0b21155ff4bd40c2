package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/shmring/shmring"
)

func init() { roles["produce"] = produce }

// options attach to the lab's ring.
func (a args) options() *shmring.Options {
	return &shmring.Options{Dir: a.Dir, Mode: shmring.ModeOpenOnly, WaitForRole: true, Doorbell: a.Wait}
}

// sender sends numbered messages and keeps its journal right.
type sender struct {
	p    *shmring.Producer
	a    args
	j    *journal
	most int // bytes of the largest message
}

func (s *sender) message(seq uint64) []byte {
	who := s.a.source()
	return who.made(seq, messageSize(who, seq, s.most))
}

func (a args) source() source { return source{a.Lane, a.Life} }

// produce sends by every way there is, in bursts, until it is told to stop or has
// sent Count messages.
func produce(ctx context.Context, a args, j *journal) error {
	rng := rand.New(rand.NewPCG(a.Seed, uint64(a.Life)))
	j.Set(phase, running)
	p, err := shmring.OpenProducer(ctx, a.Ring, a.options())
	if err != nil {
		return err
	}
	j.Set(phase, attached)
	s := &sender{p: p, a: a, j: j, most: p.MaxMessage()}
	for seq := uint64(0); j.Get(command) == 0 && (a.Count == 0 || seq < a.Count); {
		n, err := s.some(ctx, rng, seq)
		seq += n
		if err != nil {
			return err
		}
		if rng.IntN(200) == 0 {
			time.Sleep(time.Duration(rng.IntN(300)) * time.Microsecond) // let the ring run empty now and then
		}
	}
	return p.Close()
}

// some sends one message or a few, and returns how many.
func (s *sender) some(ctx context.Context, rng *rand.Rand, seq uint64) (uint64, error) {
	switch rng.IntN(8) {
	case 0:
		msgs := make([][]byte, 1+rng.IntN(batchMost))
		for i := range msgs {
			msgs[i] = s.message(seq + uint64(i))
		}
		s.j.Put(tried, seq+uint64(len(msgs)))
		n, err := s.p.SendBatch(ctx, msgs)
		s.j.Put(sent, seq+uint64(n))
		return uint64(n), err
	case 1, 2:
		msg := s.message(seq)
		c, err := s.p.Claim(ctx, len(msg))
		if err != nil {
			return 0, err
		}
		copy(c.Bytes(), msg)
		if rng.IntN(4) == 0 {
			c.Abort()
			return 0, nil
		}
		s.j.Put(tried, seq+1)
		err = c.Commit()
		if err == nil {
			s.j.Put(sent, seq+1)
		}
		return 1, err
	case 3:
		s.j.Put(tried, seq+1)
		err := s.p.TrySend(s.message(seq))
		if errors.Is(err, shmring.ErrFull) || errors.Is(err, shmring.ErrContended) {
			return 0, nil
		}
		if err == nil {
			s.j.Put(sent, seq+1)
		}
		return 1, err
	}
	s.j.Put(tried, seq+1)
	err := s.p.Send(ctx, s.message(seq))
	if err == nil {
		s.j.Put(sent, seq+1)
	}
	return 1, err
}

// batchMost is the most messages in one call of SendBatch.
const batchMost = 32
