package produce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/pin"
)

const (
	// grace is how long an interrupted producer waits for room.
	grace = 2 * time.Second
	// linger is how long one that failed, or does not wait for room, waits for the end
	// of its stream to fit.
	linger = time.Second
)

// Run is the program.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c, done, err := parse(args, stdout, stderr)
	if err != nil {
		fmt.Fprintf(stderr, "producer: %s\n", cli.Oneline(err))
		return cli.Code(err)
	}
	if done {
		return cli.OK
	}
	totals := &cli.Totals{Program: "producer", Ring: c.ring.Name}
	return c.out.Finish(totals, c.run(ctx, stdin, totals))
}

func (c *config) run(ctx context.Context, stdin io.Reader, totals *cli.Totals) error {
	for _, name := range c.files {
		if _, err := os.Stat(name); err != nil && name != stdinArg {
			return err // before anything is sent
		}
	}
	if c.cpu >= 0 {
		if err := pin.Thread(c.cpu); err != nil {
			return fmt.Errorf("-cpu: %w", err)
		}
	}
	p, err := c.open(ctx)
	if err != nil {
		return err
	}
	totals.Opened(p.Info())
	begin := time.Now()
	progress := c.out.StartProgress(p, c.out.W)
	late, cancel := cli.Grace(ctx, grace)
	defer cancel()
	err = c.send(ctx, late, p, stdin, totals)
	if !c.noEnd {
		if e := c.end(late, p, err); err == nil {
			err = e
		}
	}
	totals.Took(time.Since(begin))
	totals.Counted(p.Stats())
	progress.Stop()
	return errors.Join(err, p.Close())
}

func (c *config) open(ctx context.Context) (*shmring.Producer, error) {
	patience := cli.NewPatience(ctx, c.timeout)
	defer patience.Close()
	o := c.ring.Options
	o.KeepStream = true // end does it
	p, err := shmring.OpenProducer(patience.Begin(), c.ring.Name, &o)
	if err != nil {
		return nil, err
	}
	if need := c.need(); need > p.MaxMessage() {
		err := fmt.Errorf("messages of %d bytes do not fit: %w", need, &shmring.SizeError{Size: need, Max: p.MaxMessage()})
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// send sends everything there is to send. ctx ends the taking of input, late the
// sending.
func (c *config) send(ctx, late context.Context, p *shmring.Producer, stdin io.Reader, totals *cli.Totals) error {
	patience := cli.NewPatience(late, c.timeout)
	defer patience.Close()
	o := &outlet{p: p, full: c.full, patience: patience, totals: totals}
	if c.generate >= 0 {
		return o.generate(ctx, c)
	}
	f := &feeder{outlet: o, format: c.format, batch: c.batch, left: c.count, notice: c.out.Notice}
	if c.count == 0 {
		f.left = -1
	}
	return f.feedAll(ctx, c.files, stdin)
}

// end ends the stream, also of a producer that failed: what it has sent is whole, and
// its exit code tells of the rest.
func (c *config) end(late context.Context, p *shmring.Producer, failed error) error {
	limit := c.timeout
	if failed != nil || c.full != block {
		limit = linger
	}
	patience := cli.NewPatience(late, limit)
	defer patience.Close()
	err := p.CloseSend(patience.Begin())
	if errors.Is(err, cli.ErrTimeout) || errors.Is(err, cli.ErrInterrupted) {
		return fmt.Errorf("the end of the stream is not sent, the ring stayed full: %w: the next producer of this ring goes on with the stream", cli.ErrTimeout)
	}
	return err
}
