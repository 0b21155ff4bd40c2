package main

import (
	"fmt"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/machine"
)

// holeCase is one way for a claim to be in the way.
type holeCase struct {
	name      string
	kind      shmring.Kind
	producers int // the lab's own included
	consumer  shmring.Options
	run       func(h *holes, i int) bool
}

var holeCases = []holeCase{
	{"messages behind the claim", shmring.KindMPSC, 2, shmring.Options{}, (*holes).behind},
	{"a full ring behind the claim", shmring.KindMPSC, 2, shmring.Options{}, (*holes).full},
	{"a claim at the end of a lap", shmring.KindMPSC, 2, shmring.Options{}, (*holes).lapEnd},
	{"several claims in a row", shmring.KindMPSC, 4, shmring.Options{}, (*holes).row},
	{"nothing behind the claim", shmring.KindMPSC, 2, shmring.Options{}, (*holes).newest},
	{"spsc", shmring.KindSPSC, 1, shmring.Options{}, (*holes).single},
	{"a consumer asleep", shmring.KindMPSC, 2, shmring.Options{WaitPolicy: shmring.WaitSleep}, (*holes).asleep},
	{"a consumer that spins", shmring.KindMPSC, 2, shmring.Options{WaitPolicy: shmring.WaitSpin}, (*holes).behind},
}

// holes is one case, time and again.
type holes struct {
	*fixture
	successor *child // waits for the place of the next victim, if it was started already
	times     machine.Times
	all       *machine.Times // of all cases: what is judged
}

// hole kills producers between claim and commit, n times in all the cases
// together.
func hole(l *lab, n int) {
	begin := time.Now()
	var all machine.Times
	for i, s := range holeCases {
		share := (n + len(holeCases) - 1 - i) / len(holeCases)
		if share == 0 || l.enough(begin) || !l.holes(s, share, begin, &all) {
			break
		}
	}
	l.judge(all)
}

func (l *lab) holes(s holeCase, n int, since time.Time, all *machine.Times) (ok bool) {
	t, ok := l.newFixture(s.name, s.kind, s.producers)
	if !ok {
		return false
	}
	h := &holes{fixture: t, all: all}
	defer func() { ok = t.close(ok) }()
	if t.receiver, ok = l.here(t.ring, s.consumer); !ok {
		return false
	}
	begin, done := time.Now(), 0
	for i := range n {
		if l.enough(since) {
			break
		}
		t.what = fmt.Sprintf("%s, %d", s.name, i)
		if !s.run(h, i) {
			return false
		}
		done++
	}
	if h.successor != nil {
		h.successor.discard()
	}
	l.r.Note("%s: %d in %.1f s; noticed in %v", s.name, done, time.Since(begin).Seconds(), h.times)
	return true
}
