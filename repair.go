package shmring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Recovery tells what Recover found and did.
type Recovery struct {
	Name string `json:"name"`
	Path string `json:"path"`
	ring.Repaired
}

// Recover puts a ring that nobody uses in order after crashes: it frees the places of
// dead participants and gives up their unfinished claims. Messages that wait for a
// consumer stay. There is no need for it before opening a ring, which does the same
// step by step; it is for people and for scripts who want to know what is left. Of the
// options Dir and AnyOwner matter. Errors: ErrBusy while any process has the ring open,
// which is left as it is; fs.ErrNotExist; ErrCorrupt, after which only [Remove] helps;
// those of opening.
func Recover(ctx context.Context, name string, o *Options) (r Recovery, err error) {
	seg, view, err := o.orDefault().bare(ctx, name)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, seg.Close()) }()
	r.Name, r.Path = name, seg.Path()
	alone, err := seg.Alone()
	if err != nil {
		return r, err
	}
	if !alone {
		return r, inUse{fmt.Errorf("shmring: %s: not recovered: a process has it open, and looks after the dead by itself", seg.Path())}
	}
	if r.Repaired, err = ring.Repair(view, seg); err != nil {
		err = fmt.Errorf("shmring: %s: not recovered: %w", seg.Path(), err)
	}
	return r, err
}

// stallTime is how long ForceSkip watches a claim before it believes in a stall.
const stallTime = time.Second

// ForceSkip makes the consumer of an MPSC ring pass over the claim at position, which
// a live producer has not finished: one that is stopped, debugged or hung while it
// holds everybody up. Position comes from [Stats].Stalled, Options.OnStall or
// Options.Logger. It first watches the claim for a second, and leaves alone what is
// finished in that time.
//
// The producer is fenced before its claim is given up: its Commit, and from then on
// whatever else it does with that handle, returns [ErrRevoked], and since it may still
// be writing, the claim's slots and those behind them are not used again until it has
// closed the handle or died. Messages behind the claim are delivered at once, but at most as many
// as the ring has room for until then, and they come again (marked as redelivered) to
// a consumer that takes over before. If the process never comes back, kill it: that
// alone makes the consumer go on by itself, without ForceSkip.
//
// Of the options Dir and AnyOwner matter. Errors: [ErrNotStalled]; ErrBusy when the same
// producer has lost a claim already; those of opening.
func ForceSkip(ctx context.Context, name string, position uint64, o *Options) (claim StalledClaim, err error) {
	seg, view, err := o.orDefault().bare(ctx, name)
	if err != nil {
		return claim, err
	}
	defer func() { err = errors.Join(err, seg.Close()) }()
	begin := time.Now()
	err = retry(ctx, "force skip", func() (bool, error) {
		if _, err := ring.Unfinished(view, position); err != nil {
			return true, err
		}
		return time.Since(begin) >= stallTime, nil
	})
	if err == nil {
		claim, err = ring.ForceSkip(view, seg, position)
	}
	if err != nil {
		return claim, fmt.Errorf("shmring: %s: nothing was skipped: %w", seg.Path(), err)
	}
	claim.Age = time.Since(begin)
	return claim, nil
}

// bare opens a ring without taking a role in it.
func (o *Options) bare(ctx context.Context, name string) (*shm.Segment, *layout.View, error) {
	seg, err := shm.Open(ctx, name, layout.MinSize, &shm.Options{Dir: o.Dir, AnyOwner: o.AnyOwner})
	if err != nil {
		return nil, nil, err
	}
	view, err := parse(seg)
	if err != nil {
		return nil, nil, errors.Join(err, seg.Close())
	}
	return seg, view, nil
}
