package produce

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/fanout"
	"github.com/shmring/shmring/shm"
)

// also are the rings that get all records as well.
type also []fanout.Target

// set takes the value of -also.
func (a *also) set(text string) (err error) {
	name, word, given := strings.Cut(text, "=")
	t := fanout.Target{Name: name}
	if given {
		if t.Policy, err = fanout.ParsePolicy(word); err != nil {
			return errors.New("want RING, RING=block, RING=drop or RING=disconnect")
		}
	}
	if err := shm.ValidateName(name); err != nil {
		return err
	}
	for _, other := range *a {
		if other.Name == name {
			return errors.New("it is given twice")
		}
	}
	*a = append(*a, t)
	return nil
}

// checkAlso finds what does not go together with -also.
func (c *config) checkAlso() error {
	switch {
	case len(c.also) == 0:
		return nil
	case c.generate >= 0:
		return cli.Usagef("-also is about input, and -generate takes the place of that: give one")
	case c.full == fail || c.alone == fail:
		return cli.Usagef("-also goes with -full block or drop, and with -no-consumer wait: " +
			"others may have the record already")
	}
	for _, t := range c.also {
		if c.ring.Unix == "" && t.Name == c.ring.Name {
			return cli.Usagef("-also %s: that is -ring", t.Name)
		}
	}
	return nil
}

// openAlso opens the other rings, and puts p and them behind one FanOut, which closes them. It is nil, and p
// the caller's, if there are none.
func (c *config) openAlso(ctx context.Context, p *shmring.Producer) (f *fanout.FanOut, err error) {
	if len(c.also) == 0 {
		return nil, nil
	}
	f = fanout.New()
	f.OnGone = func(name string, why error) {
		c.out.Notice("ring %s gets no more: %s", name, cli.Oneline(why))
	}
	policy := fanout.Block
	if c.full == drop {
		policy = fanout.Drop
	}
	if err := f.Add(fanout.Target{Name: c.ring.Label(), Producer: p, Policy: policy}); err != nil {
		return nil, err
	}
	o := c.options()
	for _, t := range c.also {
		if t.Producer, err = shmring.OpenProducer(ctx, t.Name, &o); err == nil {
			err = f.Add(t)
		}
		if err != nil {
			return nil, fmt.Errorf("-also %s: %w", t.Name, errors.Join(err, f.Close()))
		}
	}
	return f, nil
}

// fanOut is send and sendBatch where there are several rings. Each has its own policy.
func (o *outlet) fanOut(msgs [][]byte) error {
	err := o.wait(func(ctx context.Context) error {
		if len(msgs) == 1 {
			return o.fan.Send(ctx, msgs[0])
		}
		return o.fan.SendBatch(ctx, msgs)
	})
	if lost, is := errors.AsType[*fanout.LostError](err); is && o.fan.Len() > 0 {
		o.lost = append(o.lost, lost) // the others have it; told at the end
		err = nil
	}
	if err != nil {
		return err
	}
	for _, msg := range msgs {
		o.sent(len(msg))
	}
	return nil
}

// endAlso ends all streams, and says what became of the other rings.
func (c *config) endAlso(f *fanout.FanOut, whole bool) error {
	for _, s := range f.Stats() {
		if s.Name != c.ring.Label() {
			c.out.Remark("ring %s: %d messages, %d dropped", s.Name, s.Messages, s.Dropped)
		}
	}
	if whole || c.noEnd {
		return f.Close()
	}
	return errors.Join(f.FailSend(), f.Close())
}
