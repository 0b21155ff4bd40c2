package shmring

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Recovery tells what Recover found and did.
type Recovery struct {
	Name    string     `json:"name"`
	Path    string     `json:"path"`
	Dead    []DeadPeer `json:"dead,omitempty"` // participants that had died without leaving
	Skipped int        `json:"skipped"`        // unfinished claims that were given up
	Used    int        `json:"used"`           // slots that wait for a consumer
}

// DeadPeer is a participant that died without leaving.
type DeadPeer struct {
	Role        Role `json:"role"`
	Participant int  `json:"participant"`
	PID         int  `json:"pid"` // as it saw itself
}

// Recover puts a ring that nobody uses in order after crashes: it frees the places of dead
// participants and gives up their unfinished claims. Messages that wait for a consumer stay.
// There is no need for it before opening a ring, which does the same step by step; it is for
// people and for scripts who want to know what is left. Errors: [ErrBusy] while any process
// has the ring open, which is left as it is; fs.ErrNotExist; [ErrCorrupt], after which only
// [Remove] helps; those of opening.
func Recover(ctx context.Context, name string, o *AdminOptions) (r Recovery, err error) {
	err = visit(ctx, name, o, func(seg *shm.Segment, view *layout.View) error {
		r.Name, r.Path = name, seg.Path()
		alone, err := seg.Alone()
		if err != nil {
			return err
		}
		if !alone {
			return inUse{fmt.Errorf("shmring: %s: not recovered: a process has it open, and looks after the dead by itself",
				seg.Path())}
		}
		repaired, err := ring.Repair(view, seg)
		if err != nil {
			err = fmt.Errorf("shmring: %s: not recovered: %w", seg.Path(), named(name, err))
		}
		r.Dead, r.Skipped, r.Used = deadOf(repaired), repaired.Skipped, repaired.Used
		return err
	})
	return r, err
}

func deadOf(r ring.Repaired) (dead []DeadPeer) {
	for _, d := range r.Dead {
		dead = append(dead, DeadPeer{Role(d.Role.String()), d.Index, d.PID})
	}
	return dead
}

// Remove removes a ring that nobody uses: its name, and with it its memory. The locks of a
// process may outlive it by a moment, so while any process has the ring open Remove waits,
// until ctx is done and for a quarter of a second at most; with a ctx that is done already
// it tries once. Errors: [ErrBusy] if a process still has the ring open, which stays as it
// is, together with the error of ctx if that ended the wait; fs.ErrNotExist if there is none. An error
// that matches fs.ErrPermission may also mean that the ring is gone and its semaphore set is
// not; its text says so.
func Remove(ctx context.Context, name string, o *AdminOptions) error {
	file := &shm.Options{Dir: o.orDefault().Dir}
	err := shm.RemoveWith(ctx, name, file, layout.MinSize, func(head []byte, inode uint64, uid int) error {
		cfg, hot, err := layout.ParseHead(head)
		if err != nil {
			return nil // whatever it is, it may go
		}
		return doorbell.Remove(cfg, &hot.Semaphores, doorbell.File{Inode: inode, Owner: uid})
	})
	if errors.Is(err, shm.ErrBusy) {
		return inUse{err}
	}
	return err
}

// stallTime is how long ForceSkip watches a claim before it believes in a stall.
const stallTime = time.Second

// ForceSkip makes the consumer of an MPSC ring pass over the claim at position, which a live
// producer has not finished: one that is stopped, debugged or hung while it holds everybody
// up. The position comes from [Stats].Stalled, Options.OnStall or Options.Logger. ForceSkip
// first watches the claim for a second, and leaves alone what is finished in that time.
//
// The claim is revoked before it is passed over: the producer's Commit, and from then on
// whatever else it does with that handle, returns [ErrRevoked]. Since it may still be
// writing, the claim's slots and those behind them are not used again until it has closed
// the handle or died. Messages behind the claim are delivered at once, but at most as many
// as the ring has room for until then, and they come again (marked as redelivered) to a
// consumer that takes over before. If the process never comes back, kill it: that alone
// makes the consumer go on by itself, without ForceSkip.
//
// Errors: [ErrNotStalled]; [ErrBusy] when the same producer has lost a claim already, or was stopped
// within the last instructions of its commit, where nobody can tell any more whether it has
// committed: let it go on, or kill it; those of opening.
func ForceSkip(ctx context.Context, name string, position Position, o *AdminOptions) (claim StalledClaim, err error) {
	err = visit(ctx, name, o, func(seg *shm.Segment, view *layout.View) error {
		claim, err = forceSkip(ctx, name, position, seg, view)
		return err
	})
	return claim, err
}

func forceSkip(ctx context.Context, name string, position Position, seg *shm.Segment,
	view *layout.View) (claim StalledClaim, err error) {
	begin := time.Now()
	err = retry(ctx, name, "force skip", func() (bool, error) {
		if position.Index != 0 {
			return true, ErrNotStalled // claims have no parts
		}
		if _, err := ring.Unfinished(view, position.Record); err != nil {
			return true, err
		}
		return time.Since(begin) >= stallTime, nil
	})
	if err == nil {
		cfg := toWake(seg, view, seg.Notify)
		cfg.Locks = seg
		var revoked ring.StalledClaim
		revoked, err = ring.ForceSkip(view, cfg, position.Record)
		claim = stalledOf(revoked)
	}
	if err != nil {
		return claim, fmt.Errorf("shmring: %s: nothing was skipped: %w", seg.Path(), named(name, err))
	}
	claim.Age = time.Since(begin)
	return claim, nil
}

// visit opens a ring, without taking a role in it, for as long as f lasts. Where memory of the ring
// is missing that f touches, f ends there.
func visit(ctx context.Context, name string, o *AdminOptions,
	f func(seg *shm.Segment, view *layout.View) error) (err error) {
	seg, view, err := openBare(ctx, name, o)
	if err != nil {
		return err
	}
	defer func() { err = joined(err, seg.Close()) }()
	if lost := seg.Guard(func() { err = f(seg, view) }); lost != nil {
		return named(name, lost)
	}
	return err
}

func openBare(ctx context.Context, name string, o *AdminOptions) (*shm.Segment, *layout.View, error) {
	file := o.orDefault()
	seg, err := shm.Open(ctx, name, layout.MinSize, judged(name, shm.Options{Dir: file.Dir, AnyOwner: file.AnyOwner}, nil))
	if err != nil {
		return nil, nil, ofFile(name, err)
	}
	view, err := parse(seg)
	if err != nil {
		return nil, nil, joined(err, seg.Discard())
	}
	return seg, view, nil
}
