//go:build killpoint

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/machine"
	"github.com/shmring/shmring/internal/killpoint"
)

const tagged = true

func init() {
	roles["dying-sender"] = dying
	roles["dying-receiver"] = dying
}

// trialMessage is a message of a victim: which trial, and a number in it.
func trialMessage(trial, k int) int64 { return int64(trial)<<32 | int64(k) }

// dying wakes somebody, and dies of it.
func dying(ctx context.Context, a args, lab *line) error {
	var message atomic.Uint64
	var begun atomic.Int64
	killpoint.Hook = func(p killpoint.Point) {
		if p != killpoint.BellCleared || message.Load() == 0 {
			return
		}
		lab.send("killing", event{message.Load(), begun.Load(), machine.Now()})
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
	var once func(k int) error
	if a.Role == "dying-sender" {
		p, err := shmring.OpenProducer(ctx, a.Ring, a.sleeper())
		if err != nil {
			return err
		}
		once = func(k int) error { return p.TrySend(number(trialMessage(a.Count, k))) }
	} else {
		c, err := shmring.OpenConsumer(ctx, a.Ring, a.sleeper())
		if err != nil {
			return err
		}
		buf := make([]byte, 64)
		once = func(int) error {
			_, err := c.TryReceive(buf)
			if errors.Is(err, shmring.ErrEmpty) {
				return nil
			}
			return err
		}
	}
	rng := rand.New(rand.NewPCG(a.Seed, 0))
	for k := range 10_000 {
		time.Sleep(3*time.Millisecond + time.Duration(rng.Int64N(int64(killedCap)))) // for the sleeper to sleep
		begun.Store(machine.Monotonic())
		message.Store(uint64(trialMessage(a.Count, k)))
		if err := once(k); err != nil {
			return err
		}
	}
	return errors.New("nobody had to be woken")
}
