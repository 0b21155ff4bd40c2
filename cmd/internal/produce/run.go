package produce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/fanout"
	"github.com/shmring/shmring/internal/pin"
)

// grace is how long an interrupted producer waits for room.
const grace = 2 * time.Second

// Run is the program.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &config{out: cli.Out{Name: "producer", W: stderr}}
	f := c.flags()
	return cli.Execute(ctx, f.Command(func(ctx context.Context, operands []string, usage error) int {
		c.files = operands
		totals := &cli.Totals{Program: "producer", Ring: c.ring.Label()}
		if usage == nil {
			usage = c.check(f)
		}
		if usage != nil {
			c.out.JSON = cli.WantsJSON(args)
			return c.out.Finish(totals, usage)
		}
		return c.out.Finish(totals, c.run(ctx, stdin, totals))
	}), args, stdout, stderr)
}

func (c *config) run(ctx context.Context, stdin io.Reader, totals *cli.Totals) error {
	if err := c.precheck(stdin); err != nil {
		return err
	}
	if c.cpu >= 0 {
		if err := pin.Thread(c.cpu); err != nil {
			return fmt.Errorf("-cpu: %w", err)
		}
	}
	t := phases{taking: ctx, drainFor: c.drainFor(stdin)}
	var stopDraining, stopSending context.CancelFunc
	t.draining, stopDraining = cli.Drain(ctx, t.drainFor)
	defer stopDraining()
	t.sending, stopSending = cli.Grace(t.draining, grace)
	defer stopSending()
	p, err := c.open(t.draining)
	if errors.Is(err, cli.ErrInterrupted) {
		return nil // nothing was taken
	}
	if err != nil {
		return err
	}
	fan, err := c.openAlso(t.draining, p)
	if err != nil {
		return errors.Join(err, p.Close())
	}
	totals.Opened(p.Info())
	begin := time.Now()
	progress := c.out.StartProgress(p, c.out.W)
	cut, err := c.send(t, p, fan, stdin, totals)
	if fan != nil {
		err = errors.Join(err, c.endAlso(fan, err == nil && !cut))
	} else if !c.noEnd {
		err = errors.Join(err, end(p, err == nil && !cut))
	}
	totals.Took(time.Since(begin))
	totals.Counted(p.Stats())
	progress.Stop()
	return errors.Join(err, p.Close())
}

// precheck finds what cannot be read before anything is sent: else the end of the stream would
// say that this was all.
func (c *config) precheck(stdin io.Reader) error {
	for _, name := range c.files {
		if _, err := os.Stat(name); err != nil && name != stdinArg {
			return err
		}
	}
	if c.generate < 0 && (len(c.files) == 0 || slices.Contains(c.files, stdinArg)) {
		if err := cli.CheckReadable(stdin); err != nil {
			return fmt.Errorf("%w: give a FILE; /dev/null is an empty one", err)
		}
	}
	return nil
}

func (c *config) open(ctx context.Context) (*shmring.Producer, error) {
	if err := c.ring.CheckDir(); err != nil {
		return nil, err
	}
	patience := cli.NewPatience(ctx, c.timeout)
	defer patience.Close()
	o := c.options()
	still := c.ring.StillOpening(&c.out, shmring.RoleProducer)
	p, err := c.producer(patience.Begin(), &o)
	still.Close()
	if err != nil {
		return nil, cli.Untaken(err, c.timeout)
	}
	if c.alone == fail {
		if err := p.Check(); err != nil { // before any input is taken
			return nil, errors.Join(err, p.Close())
		}
	}
	if need := c.need(); need > p.MaxMessage() {
		err := fmt.Errorf(
			"messages of %d bytes do not fit: %w",
			need,
			&shmring.SizeError{Size: need, Max: p.MaxMessage()},
		)
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// options are those of the ring, and of others that get the same.
func (c *config) options() shmring.Options {
	o := c.ring.Options
	o.KeepStream = len(c.also) == 0 || c.noEnd // end ends it, unless -no-end says otherwise
	if c.alone == fail {
		o.NoPeer = shmring.NoPeerFail
	}
	return o
}

// producer opens the ring by its name, or as it is handed over.
func (c *config) producer(ctx context.Context, o *shmring.Options) (*shmring.Producer, error) {
	if c.ring.Unix == "" {
		return shmring.OpenProducer(ctx, c.ring.Name, o)
	}
	s, err := c.ring.Dial(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.OpenProducer(ctx, o)
	return p, errors.Join(err, s.Close())
}

// phases end one after the other when a signal has come: the taking of input, that of a stream
// that has drainFor to end, and the sending of what was taken.
type phases struct {
	taking, draining, sending context.Context

	drainFor time.Duration
}

// roomFor is how long after the signal there may be room for what was taken.
func (t *phases) roomFor() time.Duration {
	if errors.Is(context.Cause(t.taking), cli.ErrTerminated) {
		return t.drainFor + grace
	}
	return grace
}

// send sends everything there is to send, or, if it is cut off by a signal, a part of it.
func (c *config) send(t phases, p *shmring.Producer, fan *fanout.FanOut, stdin io.Reader, totals *cli.Totals) (
	cut bool, err error) {
	patience := cli.NewPatience(t.sending, c.timeout)
	defer patience.Close()
	still := cli.NewStill(&c.out, func() string { return whyStill(p) })
	defer still.Close()
	o := &outlet{p: p, fan: fan, phases: t, full: c.full, patience: patience, still: still, totals: totals}
	if c.generate >= 0 {
		return false, o.generate(t.taking, c)
	}
	f := &feeder{outlet: o, format: c.format, long: c.long, batch: c.batch, left: c.count, out: &c.out}
	if c.count == 0 {
		f.left = -1
	}
	err = f.feedAll(c.files, stdin)
	return f.cut, errors.Join(append(o.lost, err)...)
}

// whyStill says why there is no room.
func whyStill(p *shmring.Producer) string {
	peers, err := p.Peers()
	if err != nil {
		return ""
	}
	for _, peer := range peers {
		switch {
		case peer.Role != shmring.RoleConsumer:
		case peer.Alive:
			return fmt.Sprintf("the ring is full: its consumer (pid %d) is alive and releases nothing", peer.PID)
		default:
			return fmt.Sprintf("the ring is full: its consumer (pid %d) has died; waiting for its successor", peer.PID)
		}
	}
	return "the ring is full and has no consumer: waiting for one"
}

// end ends the stream. If that was not the whole input it says so, so that the consumer does
// not take it for that.
func end(p *shmring.Producer, whole bool) error {
	if whole {
		return p.CloseSend()
	}
	return p.FailSend()
}
