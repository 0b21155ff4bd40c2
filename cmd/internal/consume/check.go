package consume

import (
	"fmt"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/load"
)

// checker is the sink of -verify.
type checker struct {
	load.Verifier
	totals  *cli.Totals
	last    shmring.Message
	held    int
	pending counts
}

func (c *checker) put(m shmring.Message) error {
	c.Check(load.Message{Slot: m.Producer(), Kind: m.Kind(), Again: m.Redelivered(), Data: m.Bytes()})
	if m.Kind() != load.Last { // its producer does not count it either
		c.pending.add(m)
	}
	c.last = m
	if c.held++; c.held == releaseEvery {
		return c.flush()
	}
	return nil
}

const releaseEvery = 64

func (c *checker) flush() error {
	c.last.Release()
	c.last, c.held = shmring.Message{}, 0
	c.pending.moveTo(c.totals)
	return nil
}

// verdict is the error for what was found. ended: the stream came to its end, and no
// producer is known to have died, so none can lack its last message.
func (c *checker) verdict(out *cli.Out, ended bool) error {
	r := c.Report()
	c.totals.Verify = &r
	for _, p := range r.Problems {
		out.Notice("%s", p)
	}
	switch {
	case !r.OK():
		return fmt.Errorf("%w: %d messages lost, %d damaged, %d out of order, of %d", cli.ErrVerify,
			r.Lost, r.Damaged, r.Disordered, c.totals.Messages)
	case ended && c.FromStart && r.Cut > 0:
		return fmt.Errorf("%w: %d of %d streams lack their last message", cli.ErrVerify, r.Cut, r.Streams)
	}
	return nil
}
