package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

// attackerArguments tell the attacker what it is.
type attackerArguments struct {
	Role string // "attacker"
	Mode string
	place
	Seed uint64
	For  time.Duration // or until it is told to end
}

// assault is what the attacker tells.
type assault struct {
	Rings   int `json:"rings_attacked"`
	Strikes int `json:"strikes"`
	Refused int `json:"refused_by_the_kernel,omitempty"` // of those that seals forbid
	Allowed int `json:"allowed_by_the_kernel,omitempty"` // likewise: a problem
	Sets    int `json:"sets_of_lost_rings,omitempty"`    // that were there at the end
	Second  int `json:"second_sets,omitempty"`           // of those, more than one of a ring: a problem
}

// attack strikes until it is told to end, and says on stdout what it has done.
func attack(a attackerArguments) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	if a.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.For)
		defer cancel()
	}
	done := assail(ctx, modes[modeOf(a.Mode)], a.place, rand.New(rand.NewPCG(a.Seed, 1)))
	return json.NewEncoder(os.Stdout).Encode(done)
}

// strikesAtOnce is how many strikes there are between two looks whether the ring is still there.
const strikesAtOnce = 64

// assail strikes at whatever ring is there. Some it strikes without a pause, others now and then, so
// that they get far before it is too late.
func assail(ctx context.Context, m mode, p place, chance *rand.Rand) (done assault) {
	defer p.clear()
	lost := map[ring]bool{} // by our doing nobody knows any more what sets of semaphores they have
	defer func() {
		removeForeign()
		for ring := range lost {
			n := ring.removeSets()
			done.Sets += n
			done.Second += max(0, n-1)
		}
	}()
	for ctx.Err() == nil {
		t := find(p, chance, m.mapped)
		if t == nil && m.blind {
			t = &target{place: p, chance: chance, fd: -1, file: p.path()}
		}
		if t == nil {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		done.Rings++
		t.lost = lost
		if m.loses {
			lost[t.ring()] = true
		}
		between := []time.Duration{0, 0, 20, 200, 2000}[chance.IntN(5)] * time.Microsecond
		t.pause([]time.Duration{1, time.Millisecond, 4 * time.Millisecond}[chance.IntN(3)])
		// At full speed it goes on until the ring is gone: who waits for the end of it would wait for ever.
		endless := m.mapped && between == 0
		for end := time.Now().Add(50 * time.Millisecond); ctx.Err() == nil && (endless || time.Now().Before(end)); {
			for range strikesAtOnce {
				m.strike(t)
				done.Strikes++
				if between > 0 {
					time.Sleep(between)
					break
				}
				if !m.mapped {
					break // they pause by themselves
				}
			}
			if !t.isThere() {
				break
			}
		}
		done.Refused += t.refused
		done.Allowed += t.allowed
		t.close()
	}
	return done
}
