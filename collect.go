package shmring

import (
	"context"
	"errors"
	"io/fs"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// CollectOptions tell [Collect] what to look for, and whether to remove it.
type CollectOptions struct {
	// Dir is where the rings' files are. Empty: the environment variable SHMRING_DIR, else
	// /dev/shm.
	Dir string
	// Unused also collects rings that nobody has open and in which nothing waits: no message, no
	// claim of a live owner, no end of a stream that no consumer was told of. Whoever opens such a ring
	// next would go on with its positions; if it is removed, it gets a new one, with another UUID.
	Unused bool
	// Remove removes what is found. Otherwise nothing is changed.
	Remove bool
}

// Collected is a file that [Collect] has found.
type Collected struct {
	Name    string `json:"name"` // of the ring that it is, or was to become; empty: not known
	Path    string `json:"path"`
	Size    int64  `json:"size"`
	What    string `json:"what"`           // "unfinished", "locks" or "unused"
	Removed bool   `json:"removed"`        //
	Kept    string `json:"kept,omitempty"` // why it is not, or would not be
}

// Collect finds what is of no use to anybody any more: files that a process has left that was killed
// while it created a ring or made it anew, directories of lock files whose ring is no more or was never
// born, and, if asked for, rings that nobody uses and in which
// nothing waits. Nothing is taken for dead because it is old: of each unfinished file the system
// has said that nobody has it open, and a ring is removed only under the lock that nobody else has it
// open by; a directory of lock files, if nobody holds a lock on it or in it. Errors: those of
// reading the directory; ErrUnsupported; a [*ContextError].
func Collect(ctx context.Context, o *CollectOptions) (list []Collected, err error) {
	var private CollectOptions
	if o != nil {
		private = *o
	}
	left, err := shm.Leftovers(private.Dir, private.Remove)
	if err != nil {
		return nil, err
	}
	for _, l := range left {
		c := Collected{Name: l.Name, Path: l.Path, Size: l.Size, What: "unfinished", Removed: l.Removed}
		switch {
		case l.InUse:
			c.Kept = "somebody has it open, who is making it"
		case l.Err != nil:
			c.Kept = l.Err.Error()
		}
		list = append(list, c)
	}
	locks, err := shm.LockDirectories(private.Dir, private.Remove)
	if err != nil {
		return list, err
	}
	for _, l := range locks {
		c := Collected{Path: l.Path, What: "locks", Removed: l.Removed}
		switch {
		case l.InUse:
			c.Kept = "somebody uses the ring still, or is making it"
		case l.Err != nil:
			c.Kept = l.Err.Error()
		}
		list = append(list, c)
	}
	if !private.Unused {
		return list, nil
	}
	rings, err := List(ctx, &InspectOptions{Dir: private.Dir})
	if err != nil {
		return list, err
	}
	for _, s := range rings {
		if !s.isUnused() || len(s.File.Attached) > 0 {
			continue
		}
		c := Collected{Name: s.Name, Path: s.Path, Size: s.File.Size, What: "unused"}
		if private.Remove {
			err := removeUnused(ctx, s.Name, private.Dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if c.Removed = err == nil; !c.Removed {
				c.Kept = err.Error()
			}
		}
		list = append(list, c)
	}
	return list, nil
}

// isUnused tells whether nobody alive is attached to a ring that is sound, and nothing waits in it.
func (s *Snapshot) isUnused() bool {
	if s.Err != nil || s.Ring == nil || !s.Ring.Queue.Exact || s.Ring.Queue.Messages > 0 || len(s.Ring.Untold) > 0 {
		return false
	}
	for _, p := range s.Ring.Peers {
		if p.Role == RoleProducer && p.Life != LifeGone {
			return false // a dead one's fate is yet to be told
		}
		if p.Life == LifeAlive || p.Life == LifeUnknown {
			return false
		}
	}
	return true
}

// errInUseAgain: somebody has used the ring since it was looked at.
var errInUseAgain = errors.New("shmring: it is in use again, or something waits in it by now")

// removeUnused removes a ring if it is unused still, when nobody else can open it any more.
func removeUnused(ctx context.Context, name, dir string) error {
	file := &shm.Options{Dir: dir}
	err := shm.RemoveWith(ctx, name, file, layout.MinSize, func(head []byte, inode uint64, uid int) error {
		if s, err := Inspect(ctx, name, &InspectOptions{Dir: dir}); err != nil || !s.isUnused() {
			return shm.ErrKeep
		}
		cfg, hot, err := layout.ParseHead(head)
		if err != nil {
			return shm.ErrKeep
		}
		return doorbell.Remove(cfg, &hot.Semaphores, doorbell.File{Inode: inode, Owner: uid})
	})
	switch {
	case err == shm.ErrKeep:
		return errInUseAgain
	case errors.Is(err, shm.ErrBusy):
		return inUse{err}
	}
	return err
}
