package wait

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	command "github.com/urfave/cli/v3"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// How long the command measures, unless sent.
const (
	full  = 75 * time.Second
	quick = 15 * time.Second
)

// Summary is the command in one line.
const Summary = "measure what each way of waiting costs here"

// Help is the command's.
const Help = `Usage: shmring wait [flags]

Measures between two processes what each way of waiting costs on this machine and what
it gives: for each doorbell that works here, with each policy, how long a message takes
while others flow and after a silence, the processor time of a consumer that has
nothing to do, and that of a message now and then. Beside the silences it measures a
bare futex, in C if there is a gcc. It leaves nothing behind.

Let the machine be quiet meanwhile. The legend under the table says how to read it, and
which option or flag sets what.

` + workers.Help + `  -for DURATION       measure for about so long (default 75s; -quick: 15s)

` + cli.ExitCodes + `
Examples
  shmring wait -quick
  shmring wait -for 3s -json
`

// Command makes the command.
func Command(args []string, stdout, stderr io.Writer) *command.Command {
	var long time.Duration
	r := &report{}
	c := workers.Command{Name: "wait", Summary: Summary,
		Child: ChildCommand, Help: Help, Report: r,
		Flags: func(f *cli.Flags) {
			f.Func("for", func(s string) (err error) {
				if long, err = time.ParseDuration(s); err != nil || long <= 0 {
					return errors.New("want a positive duration like 30s")
				}
				return nil
			})
		},
		Steps: func(ctx context.Context, c *workers.Setup) ([]workers.Step, error) {
			switch {
			case long > 0 && c.Quick:
				return nil, cli.Usagef("-quick is -for %v: give one of them", quick)
			case c.Quick:
				long = quick
			case long == 0:
				long = full
			}
			return r.plan(ctx, c, long)
		},
	}
	return c.Command(args, stdout, stderr)
}

// way is a doorbell with a policy.
type way struct {
	doorbell cli.Choice[shmring.Doorbell]
	policy   cli.Choice[shmring.WaitPolicy]
}

func (w way) String() string { return w.doorbell.Word + "-" + w.policy.Word }

func (w way) sleeps() bool {
	return w.policy.Value != shmring.WaitSpin
}

// waysOf lists those of a doorbell. Who parks sleeps on none, so that is measured once.
func waysOf(d cli.Choice[shmring.Doorbell]) (all []way) {
	for _, p := range cli.Policies {
		if p.Value != shmring.WaitPark || d.Value == shmring.DoorbellFutex {
			all = append(all, way{d, p})
		}
	}
	return all
}

// ways lists those that work here.
func ways(ctx context.Context, dir string) (all []way, not []skipped, err error) {
	not = []skipped{}
	for _, d := range cli.Doorbells {
		if err := try(ctx, dir, d); err != nil {
			if d.Value == shmring.DoorbellPoll || ctx.Err() != nil {
				return nil, nil, err // it needs nothing of the system: no ring can be made
			}
			not = append(not, skipped{d.Word, cli.Oneline(err)})
			continue
		}
		all = append(all, waysOf(d)...)
	}
	return all, not, nil
}

// try makes a ring with a doorbell.
func try(ctx context.Context, dir string, d cli.Choice[shmring.Doorbell]) error {
	name := "try-" + d.Word
	o := &shmring.Options{Dir: dir, Mode: shmring.ModeCreateOnly, Doorbell: d.Value}
	p, err := shmring.OpenProducer(ctx, name, o)
	if err != nil {
		return err
	}
	if got := p.Info().Doorbell.String(); got != d.Word {
		err = fmt.Errorf("a ring that was to have this doorbell has %s", got)
	}
	return errors.Join(err, p.Close(), shmring.Remove(ctx, name, &shmring.AdminOptions{Dir: dir}))
}
