package consume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/load"
	"github.com/shmring/shmring/internal/pin"
)

// Run is the program.
func Run(ctx context.Context, args []string, _ io.Reader, stdout, stderr io.Writer) int {
	c := &config{out: cli.Out{Name: "consumer", W: stderr}}
	f := c.flags()
	return cli.Execute(ctx, f.Command(func(ctx context.Context, operands []string, usage error) int {
		totals := &cli.Totals{Program: "consumer", Ring: c.ring.Label()}
		if usage == nil {
			usage = c.check(f, operands)
		}
		if usage != nil {
			c.out.JSON = cli.WantsJSON(args)
			return c.out.Finish(totals, usage)
		}
		return c.out.Finish(totals, c.run(ctx, stdout, totals))
	}), args, stdout, stderr)
}

func (c *config) run(ctx context.Context, stdout io.Writer, totals *cli.Totals) error {
	if c.cpu >= 0 {
		if err := pin.Thread(c.cpu); err != nil {
			return fmt.Errorf("-cpu: %w", err)
		}
	}
	if err := c.precheck(stdout); err != nil {
		return err
	}
	r := &receiver{config: c}
	if c.file != "" {
		r.hangups = cli.Hangups(ctx)
	}
	patience := cli.NewPatience(ctx, c.timeout)
	defer patience.Close()
	consumer, stop, err := c.open(ctx, patience)
	if errors.Is(err, cli.ErrInterrupted) {
		return nil
	}
	if err != nil {
		return err
	}
	defer stop()
	totals.Opened(consumer.Info())
	r.c, r.totals = consumer, totals
	err = c.output(ctx, stdout, func(w io.Writer) error { return r.run(ctx, w) })
	totals.Counted(consumer.Stats())
	return errors.Join(err, consumer.Close())
}

// open opens the ring. stop ends the handing over of one that has no name.
func (c *config) open(ctx context.Context, patience *cli.Patience) (_ *shmring.Consumer, stop func(), err error) {
	o := c.ring.Options
	o.ExpectedProducers = c.producers
	if c.alone == fail {
		o.NoPeer = shmring.NoPeerFail
	}
	o.OnSkip = func(s shmring.SkippedClaim) {
		c.out.Notice("passed over a message that its producer (pid %d) died over", s.PID)
	}
	o.OnStall = func(s shmring.StalledClaim) {
		remedy := "killing it gives that up"
		if c.ring.Unix == "" {
			remedy = fmt.Sprintf("\"shmring force-skip %s %d\" gives it up", c.ring.ForCommands(), s.Position.Record)
		}
		c.out.Notice("waiting for a message that its producer (pid %d) has begun and not finished; %s", s.PID, remedy)
	}
	if err := c.ring.CheckDir(); err != nil {
		return nil, nil, err
	}
	still := c.ring.StillOpening(&c.out, shmring.RoleConsumer)
	defer still.Close()
	var consumer *shmring.Consumer
	if c.ring.Unix == "" {
		consumer, err = shmring.OpenConsumer(patience.Begin(), c.ring.Name, &o)
		stop = func() {}
	} else {
		consumer, stop, err = c.serve(ctx, patience.Begin(), &o)
	}
	patience.End()
	if errors.Is(err, cli.ErrTimeout) && errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there was no ring %q for %v: %w: start its producer, or give -create", c.ring.Name,
			c.timeout, cli.ErrTimeout)
	}
	return consumer, stop, cli.Untaken(err, c.timeout)
}

// serve makes a ring without a name and hands it over as long as ctx lasts, until stop.
// opening bounds the waiting for the consumer before.
func (c *config) serve(ctx, opening context.Context, o *shmring.Options) (_ *shmring.Consumer, stop func(), err error) {
	l, err := c.ring.Listen(opening)
	if err != nil {
		return nil, nil, err
	}
	s, err := shmring.NewSealed(opening, "consumer", o)
	if err != nil {
		return nil, nil, errors.Join(err, l.Close())
	}
	consumer, err := s.OpenConsumer(opening, o) // before any producer can find that there is none
	if err != nil {
		return nil, nil, errors.Join(err, s.Close(), l.Close())
	}
	return consumer, c.ring.Serve(ctx, s, l, &c.out), nil
}

func (r *receiver) run(ctx context.Context, w io.Writer) error {
	r.target, _ = w.(*outputFile)
	info := r.c.Info()
	var check *checker
	if r.verify {
		check = &checker{totals: r.totals, Verifier: load.Verifier{FromStart: info.Epoch == 1}}
		r.sink = check
	} else {
		r.sink = newWriter(w, r.format, r.totals)
	}
	if r.verify || !cli.Terminal(w) { // where records appear there is no place for a progress line
		progress := r.out.StartProgress(r.c, r.out.W)
		defer progress.Stop()
	}
	r.still = cli.NewStill(&r.out, r.whyStill)
	defer r.still.Close()
	err := r.receive(ctx)
	if !r.begin.IsZero() {
		r.totals.Took(time.Since(r.begin))
	}
	if check == nil {
		return err
	}
	stats := r.c.Stats()
	ended := err == nil && ctx.Err() == nil && r.count == 0 && r.lost == nil && stats.Deaths+stats.Skipped == 0
	return errors.Join(check.verdict(&r.out, ended), err)
}
