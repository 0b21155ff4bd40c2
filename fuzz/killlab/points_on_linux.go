//go:build killpoint

package main

import (
	"context"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/internal/killpoint"
)

const tagged = true

func init() { roles[pointRole] = point }

// point does one operation and dies at its a.Number-th kill point; with 0, or when
// there are fewer, it does all of it and says how many there were. With a.Only it counts
// no points but those.
func point(ctx context.Context, a args, j *journal) error {
	var armed atomic.Bool
	var hits atomic.Uint64
	killpoint.Hook = func(p killpoint.Point) {
		if !armed.Load() {
			return
		}
		j.Put(where, uint64(p))
		if a.Only != "" && p.String() != a.Only {
			return
		}
		n := hits.Add(1)
		j.Set(extra, n)
		if n == uint64(a.Number) {
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	v := newVictim(a, j)
	if err := v.prepare(ctx); err != nil {
		return err
	}
	j.Set(phase, attached)
	j.Await(command, 1, labs.ChildLimit)
	armed.Store(true)
	err := v.op.run(v, ctx)
	armed.Store(false)
	j.Set(phase, operated)
	return err
}
