package shmring

import (
	"context"
	"sync"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Consumer receives the messages of a ring. The methods that move messages are those
// of [ring.Consumer]: Receive, Next and their Try variants, Drain, All and Check. See
// there for what each returns.
//
// A Consumer is for one goroutine at a time; Close, Info, Stats and Used may be
// called from any.
type Consumer struct {
	*ring.Consumer
	s       *segment
	closing sync.Once
	err     error
}

// OpenConsumer attaches the consumer to the named ring and goes on behind the last
// message that was released. Unless Options.Mode says otherwise it waits for the ring
// to be created. ctx bounds that wait, not the life of the handle. Errors: those
// listed at ErrFull and its neighbours; ErrBusy, naming the holder, when the ring has
// a live consumer.
func OpenConsumer(ctx context.Context, name string, o *Options) (*Consumer, error) {
	c := &Consumer{}
	s, err := join(ctx, name, o, ModeOpenWait, func(v *layout.View, cfg ring.Config) (att ring.Attachment, err error) {
		if c.Consumer, err = ring.NewConsumer(v, cfg); err != nil {
			return att, err
		}
		return c.Attachment(), nil
	})
	if err != nil {
		return nil, err
	}
	c.s = s
	return c, nil
}

// Info tells what opening did and found.
func (c *Consumer) Info() Info { return c.s.info }

// Close wakes and ends a call that is blocked, and detaches. The ring stays. What
// Next handed out and was not released goes to the next consumer; what Receive
// returned last counts as handled. It is safe to call from any goroutine, and from
// inside a handler or a loop over All; calls after the first return what that returned.
func (c *Consumer) Close() error {
	c.closing.Do(func() {
		c.Consumer.Close()
		c.err = c.s.detach(c.Attachment())
	})
	return c.err
}
