package tool

import (
	"context"
	"fmt"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

const forceSkipHelp = `Usage: shmring force-skip [flags] NAME [POSITION]

Makes the consumer of an mpsc ring pass over a claim which a live but stopped or hung
producer has not committed. Without POSITION that is the claim which everything else
waits for: it is looked for, shown, and given up only with -yes. The consumer says its
POSITION, and so does shmring inspect; with it no -yes is needed. Then it watches for a
second whether the claim is really stuck. The claim is revoked: its producer gets an
error when it comes back, and what lies behind its claim is delivered but not reused
until it has closed the ring or died. Killing the producer is the simpler remedy: the
consumer then goes on by itself.
`

const forceSkipFlags = `  -yes       give up the claim that is found, though its owner lives
`

// findFor is how long a claim is looked at before it is shown as the one that is stuck.
const findFor = time.Second

// forceSkip is what force-skip does.
func forceSkip(f *cli.Flags) action {
	yes := false
	f.Bool(&yes, "yes")
	return func(ctx context.Context, args []string, o *shmring.AdminOptions) (any, string, error) {
		if len(args) == 1 {
			return skipStalled(ctx, args[0], yes, o)
		}
		position, err := shmring.ParsePosition(args[1])
		if err != nil {
			return nil, "", cli.Usagef("position %q: want a number of slots", args[1])
		}
		c, err := shmring.ForceSkip(ctx, args[0], position, o)
		return c, tellSkipped(c), err
	}
}

func tellSkipped(c shmring.StalledClaim) string {
	return fmt.Sprintf("gave up the claim of %d slots at %d by producer %d (pid %d), after watching it for %v\n",
		c.Slots, c.Position.Record, c.Producer, c.PID, c.Age.Round(time.Millisecond))
}

// skipStalled gives up the claim that everything else waits for.
func skipStalled(ctx context.Context, name string, yes bool, o *shmring.AdminOptions) (any, string, error) {
	s, err := shmring.Inspect(ctx, name, &shmring.InspectOptions{Dir: o.Dir, Watch: findFor})
	if err == nil && s.Err != nil {
		err = unsound(s)
	}
	if err != nil {
		return nil, "", err
	}
	claim, err := stalledIn(s)
	if err != nil {
		return nil, "", err
	}
	found := fmt.Sprintf("the claim at %d, %d slots, of producer %d, pid %d (process %s), open for %v at least",
		claim.Position.Record, claim.Slots, claim.Producer, claim.PID, claim.Process, claim.OpenFor.Round(time.Millisecond))
	if !yes {
		return nil, "", fmt.Errorf("%s: -yes gives it up; killing its producer is simpler: "+
			"the consumer then goes on by itself", found)
	}
	c, err := shmring.ForceSkip(ctx, name, claim.Position, o)
	text := "found " + found + "\n" + tellSkipped(c)
	if more := s.Ring.Queue.OpenClaims - 1; more > 0 {
		text += fmt.Sprintf("%d more claims were open behind it: shmring inspect shows whether one of them is stuck\n", more)
	}
	return c, text, err
}

// stalledIn returns the first claim that is open, if it was open at both looks and its owner lives.
func stalledIn(s shmring.Snapshot) (c shmring.OpenClaim, err error) {
	if s.Ring.Kind != shmring.KindMPSC {
		return c, fmt.Errorf("%w: a claim holds others up on an mpsc ring only, and this one is %s", shmring.ErrNotStalled,
			s.Ring.KindName)
	}
	if len(s.Ring.Claims) == 0 {
		return c, fmt.Errorf("%w: no claim is open", shmring.ErrNotStalled)
	}
	c = s.Ring.Claims[0]
	switch {
	case c.OpenFor == 0:
		return c, fmt.Errorf("%w: claims come and go, and the first, at %d, was not there before", shmring.ErrNotStalled,
			c.Position.Record)
	case c.Life == shmring.LifeDead || c.Life == shmring.LifeGone:
		return c, fmt.Errorf("%w: the producer of the claim at %d (pid %d) is dead: a consumer passes over it by itself, "+
			"and recover does where nobody uses the ring", shmring.ErrNotStalled, c.Position.Record, c.PID)
	}
	return c, nil
}
