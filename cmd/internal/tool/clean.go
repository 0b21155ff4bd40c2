package tool

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

const gcHelp = `Usage: shmring gc [flags] [DIR]

Shows what is of no use to anybody in a directory of rings, and removes it with -remove:
files that a process has left which was killed while it created a ring or made one anew,
directories of lock files whose ring is no more, and, with -unused, rings that nobody has
open and in which nothing waits, neither a message nor news of a stream that no consumer was
told. Nothing goes because it is old: the system has to say that nobody has it open. A ring
that is in use, or that has something in it, is left alone.
`

const gcFlags = `  -remove    remove what is found; without it nothing is changed
  -unused    rings too that nobody uses and in which nothing waits
`

const purgeHelp = `Usage: shmring purge [flags] NAME

Throws away the messages that wait in the ring when it begins, and keeps the ring. It takes
them as their consumer, so no other may be attached (code 7), and producers may. What it
throws away is gone: shmring inspect NAME shows first how much that is. Messages behind a
claim that is open stay (code 1).
`

// collect is what gc does.
func collect(f *cli.Flags) action {
	var o shmring.CollectOptions
	f.Bool(&o.Remove, "remove")
	f.Bool(&o.Unused, "unused")
	return func(ctx context.Context, args []string, admin *shmring.AdminOptions) (any, string, error) {
		o.Dir = admin.Dir
		if err := takeDir(&o.Dir, args); err != nil {
			return nil, "", err
		}
		list, err := shmring.Collect(ctx, &o)
		if list == nil {
			list = []shmring.Collected{}
		}
		return list, tellCollected(list, o.Remove), err
	}
}

// takeDir takes the directory from the arguments, if it is there.
func takeDir(dir *string, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if *dir != "" {
		return cli.Usagef("two directories, %s and -dir %s: give one", args[0], *dir)
	}
	*dir = args[0]
	return nil
}

func tellCollected(list []shmring.Collected, remove bool) (text string) {
	var found int
	var size int64
	for _, c := range list {
		what := "would be removed"
		switch {
		case c.Kept != "":
			what = "kept: " + c.Kept
		case c.Removed:
			what = "removed"
		}
		if c.Kept == "" {
			found++
			size += c.Size
		}
		text += fmt.Sprintf("%s (%s, %d bytes): %s\n", c.Path, c.What, c.Size, what)
	}
	hint := ""
	if found > 0 && !remove {
		hint = "; -remove removes that"
	}
	return text + fmt.Sprintf("%d files, %d bytes%s\n", found, size, hint)
}

// purged is what purge has done.
type purged struct {
	Name     string `json:"name"`
	Messages int    `json:"messages"`
	Bytes    int    `json:"bytes"`
	Streams  int    `json:"streams"` // whose end was told
}

// purge throws away what waits in a ring.
func purge(ctx context.Context, args []string, o *shmring.AdminOptions) (any, string, error) {
	r := purged{Name: args[0]}
	c, err := shmring.OpenConsumer(ctx, args[0], &shmring.Options{
		Dir: o.Dir, AnyOwner: o.AnyOwner, Mode: shmring.ModeOpenOnly,
		OnStreamEnd: func(shmring.StreamEnd) { r.Streams++ },
	})
	if err != nil {
		return nil, "", err
	}
	before, err := shmring.Inspect(ctx, args[0], &shmring.InspectOptions{Dir: o.Dir})
	if err == nil {
		err = before.Err
	}
	if err == nil {
		err = drain(ctx, c, *before.Ring, &r)
	}
	err = errors.Join(err, c.Close())
	return r, fmt.Sprintf("threw away %d messages, %d bytes, of %s\n", r.Messages, r.Bytes, args[0]), err
}

// drain takes the messages that waited when the ring was looked at, which is when c had just come. They
// are counted, because a message that c has seen, if only to find that it came later, might be dropped
// by the next consumer (DeliveryAtMostOnce).
func drain(ctx context.Context, c *shmring.Consumer, before shmring.RingState, r *purged) error {
	left := int(before.Queue.Messages)
	open := map[shmring.Position]bool{}
	for _, claim := range before.Claims {
		open[claim.Position] = true
	}
	for left > 0 && ctx.Err() == nil {
		_, err := c.TryDrain(left, func(m shmring.Message) error {
			if !open[m.Position()] { // else it did not wait yet
				left--
			}
			r.Messages++
			r.Bytes += len(m.Bytes())
			return nil
		})
		var over *shmring.StreamError
		switch {
		case errors.Is(err, shmring.ErrEmpty):
			return errors.Join(c.Check(), stuck(c.Stats().Stalled, left, r.Name))
		case err != nil && err != io.EOF && !errors.As(err, &over):
			return err
		}
	}
	if err := context.Cause(ctx); err != nil || !before.Queue.Limited {
		return err
	}
	return fmt.Errorf("more messages waited in %s than are counted at a time: purge it again", r.Name)
}

// stuck says why messages stay.
func stuck(claim *shmring.StalledClaim, left int, name string) error {
	why := "something is in the way"
	if claim != nil {
		why = fmt.Sprintf("the claim at %d of pid %d before them is unfinished", claim.Position.Record, claim.PID)
	}
	return fmt.Errorf("%d messages stay: %s; shmring inspect %s says what to do", left, why, name)
}
