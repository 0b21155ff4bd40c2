package main

import (
	"context"
	"errors"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/fuzz/histories/spec"
	"github.com/shmring/shmring/internal/membarrier"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// forceSkip gives up the claim at a position. shmring.ForceSkip would watch it for a second
// first, which is longer than a history.
func (c *client) forceSkip(pos uint64) {
	c.begin(spec.ForceSkip, event{position: pos})
	c.end(c.forceSkipAt(pos), event{})
}

func (c *client) forceSkipAt(pos uint64) (err error) {
	seg, err := shm.Open(context.Background(), c.Ring, layout.MinSize, &shm.Options{Dir: c.Dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, seg.Close()) }()
	view, err := layout.Parse(seg.Bytes())
	if err != nil {
		return err
	}
	kind := shm.OFD
	if view.Config.Incompat&layout.FlockLocks != 0 {
		kind = shm.Flock
	}
	if err := seg.UseLocks(kind); err != nil {
		return err
	}
	// Nobody is woken: the consumer is we.
	bell := doorbell.NewWaker(view.Config.Doorbell, doorbell.Target{
		Word: &view.Hot.DataBell, View: view, Inode: seg.Inode(),
	})
	_, err = ring.ForceSkip(view, ring.Config{Locks: seg, DataBell: bell, Barrier: membarrier.System{}}, pos)
	return err
}
