//go:build killpoint

package main

import (
	"math/rand/v2"
	"time"

	"github.com/shmring/shmring/internal/clock"
	"github.com/shmring/shmring/internal/killpoint"
)

const hasPoints = true

// hook makes calls longer at their kill points now and then, so that others come in
// between, and kills a victim at one of them.
func hook(c *client) {
	rng := rand.New(rand.NewPCG(c.Seed, uint64(c.Client)+1000))
	left := c.KillPoint
	killpoint.Hook = func(killpoint.Point) {
		if c.armed {
			if left--; left == 0 {
				dieNow()
				select {}
			}
			return
		}
		switch n := rng.IntN(32); {
		case n < 4:
			busyFor(time.Duration(rng.IntN(5000)))
		case n == 4:
			clock.SleepUntil(clock.Monotonic() + int64(rng.IntN(30_000)))
		}
	}
}
