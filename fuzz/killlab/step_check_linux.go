package main

import (
	"context"
	"errors"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
)

// verify looks at a ring whose victim is dead: everything that was sent is there,
// everybody goes on, and nothing is lost of the ring itself.
func (s *stage) verify() {
	op := s.scene.operation()
	returned := s.v.j.get(phase) == ended
	if op.rings && returned && s.scene.state == contended && s.bell().Load()&1 != 0 {
		s.r.fault(&s.r.Stuck, "the operation has returned and a sleeper was not rung for")
	}
	if op.consumer {
		s.succeed(returned)
	}
	if s.c == nil {
		return
	}
	early := s.early()
	s.drain()
	if s.held {
		s.commit()
		s.drain()
	}
	if early != nil {
		s.l.must(early.Close())
	}
	if !op.consumer {
		s.inherit(returned)
	}
	s.goOn()
	s.check.life(source{lane: laneLab}, s.written, s.written)
	s.shut()
}

// early attaches a producer to a ring for many before anybody has looked after the dead
// one. It gets that one's slot at once only if nothing in the ring is still that one's;
// else its life would be taken for that of a dead owner, for whom the consumer then
// waits. Nil if there is no slot yet.
func (s *stage) early() *shmring.Producer {
	if s.scene.kind != shmring.KindMPSC || s.scene.operation().consumer {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	p, err := shmring.OpenProducer(ctx, s.ring, s.options())
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		s.r.fault(&s.r.Other, "a producer that comes at once: %v", err)
	}
	if err != nil {
		return nil
	}
	return p
}

// succeed puts a new consumer in the place of a dead one. What that one handled and
// did not release may come again.
func (s *stage) succeed(returned bool) {
	op := s.scene.operation()
	s.check.bound = 0
	if !op.attach {
		s.check.bound = 1 // the message of prepare
	}
	if s.v.j.get(count) > 0 {
		s.handles()
		s.check.bound++
	}
	if returned {
		s.check.bound = 0 // a ring this small gathers no releases
	}
	if op.name == "Consumer.Close" {
		s.marked = 0 // it may have left before it was dead, and then has seen nothing
	}
	s.check.consumerDied()
	if err := s.openConsumer(); err != nil {
		s.r.fault(&s.r.Stuck, "no consumer can follow: %v", err)
	}
}

// inherit compares what came of a dead producer with what it did.
func (s *stage) inherit(returned bool) {
	op := s.scene.operation()
	tried, sent := uint64(op.sends), uint64(0)
	if s.scene.state == full {
		tried = 0
	}
	if returned {
		sent = tried
	}
	s.check.life(source{lane: laneVictim}, tried, sent)
	if came := s.check.lane(laneVictim).came[0]; came != 0 && came != tried {
		s.r.fault(&s.r.Torn, "%d messages of a batch of %d came", came, tried)
	}
	if s.skips > 1 || s.skips > 0 && returned {
		s.r.fault(&s.r.Other, "%d claims were left behind (has it returned: %v)", s.skips, returned)
	}
	if s.scene.kind != shmring.KindSPSC || op.attach {
		return
	}
	closing := op.name == "Producer.Close"
	ends := s.scene.state != full && (closing || op.name == "CloseSend")
	switch {
	case ends && returned && s.ends != 1:
		s.r.fault(&s.r.Lost, "the end of the stream was sent once and came %d times", s.ends)
	case !ends && s.ends > 0:
		s.r.fault(&s.r.Other, "io.EOF, and nobody has ended the stream")
	case s.ends+s.deaths != 1 && !(closing && !ends):
		s.r.fault(&s.r.Other, "the producer died: io.EOF came %d times, its death %d times", s.ends, s.deaths)
	}
}

// goOn shows that the survivors do, and that producers can still attach.
func (s *stage) goOn() {
	if s.live != nil {
		if err := s.tell(largeMessage); err != nil {
			s.r.fault(&s.r.Stuck, "a survivor: %v", err)
		}
		s.drain()
	}
	if s.scene.kind == shmring.KindSPSC {
		if err := s.closeLive(); err != nil {
			s.r.fault(&s.r.Other, "the live producer: %v", err)
		}
	}
	for range 2 {
		s.fillUp()
	}
}

// fillUp attaches as many producers as there is room for. Each sends two messages,
// which have to arrive.
func (s *stage) fillUp() {
	var all []*shmring.Producer
	defer func() {
		for _, p := range all {
			s.l.must(p.Close())
		}
	}()
	for range len(s.view.Participants) - s.free() {
		ctx, cancel := s.brief()
		defer cancel()
		p, err := shmring.OpenProducer(ctx, s.ring, s.options())
		if err != nil {
			s.r.fault(&s.r.Stuck, "no producer can follow: %v", err)
			return
		}
		all = append(all, p)
		s.newcomers++
		who := source{laneSuccessor, s.newcomers}
		for seq, size := range []int{smallMessage, largeMessage} {
			if err := p.Send(ctx, who.made(uint64(seq), size)); err != nil {
				s.r.fault(&s.r.Stuck, "a producer that follows: %v", err)
			}
		}
		s.drain()
		s.check.life(who, 2, 2)
	}
}

// shut closes what is open: then nobody may seem to be there.
func (s *stage) shut() {
	if err := errors.Join(s.closeLive(), s.closeConsumer()); err != nil {
		s.r.fault(&s.r.Other, "close: %v", err)
	}
	for i := range s.view.Participants {
		m := &s.view.Participants[i]
		if state := m.State.Load(); state != layout.Free {
			s.r.fault(&s.r.Leaked, "participant %d is in state %d after all have left", i, state)
		}
	}
}
