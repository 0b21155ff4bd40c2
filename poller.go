package shmring

import (
	"context"
	"time"

	"github.com/shmring/shmring/ring"
)

// Poller lets one goroutine serve many rings, without a thread or a goroutine for each:
//
//	for {
//		c, err := p.Wait(ctx)
//		// handle some of what there is: c.TryReceive, c.TryNext or c.TryDrain
//	}
//
// Wait is for one goroutine at a time, and the consumers in the Poller belong to it: it uses
// their Try calls only. Everything else may be called by any goroutine at any time, also
// while Wait sleeps, and by a consumer's OnSkip, OnStall or Logger. How the rings' creators
// chose to sleep does not matter. It sleeps through inotify; where that is not to be had,
// [Poller.Blind] tells why, and it looks at its rings every few milliseconds.
type Poller struct {
	ring *ring.Poller
}

// PollerOptions tell how a Poller waits: the options of the same names in [Options], for
// itself. The zero value and nil are good defaults.
type PollerOptions struct {
	WaitPolicy WaitPolicy
	SpinFor    time.Duration
	// MaxSleep: a dead producer is noticed after MaxSleep or after a millisecond for each
	// consumer, whichever is longer.
	MaxSleep time.Duration
}

// NewPoller makes a Poller without consumers. The error is an [*OptionError].
func NewPoller(o *PollerOptions) (*Poller, error) {
	if o == nil {
		o = &PollerOptions{}
	}
	err := firstBroken(waitPolicyRule("PollerOptions", o.WaitPolicy),
		spinForRule("PollerOptions", o.SpinFor), maxSleepRule("PollerOptions", o.MaxSleep))
	if err != nil {
		return nil, err
	}
	first, longest := sleepLimits(o.MaxSleep)
	cfg := ring.PollerConfig{SpinFor: o.WaitPolicy.spinFor(o.SpinFor), FirstSleep: first, MaxSleep: longest}
	return &Poller{ring: ring.NewPoller(cfg)}, nil
}

// Add adds a consumer, and wakes Wait to look at it. Adding it again does nothing.
// [ErrClosed] if the Poller is closed.
func (p *Poller) Add(c *Consumer) error { return p.ring.Add(c.handle) }

// Remove takes a consumer out, without closing it. It reports whether it was in. After that
// Wait does not touch the consumer, unless it is just now calling its OnSkip, OnStall or
// Logger: then until it has returned from that.
func (p *Poller) Remove(c *Consumer) bool { return p.ring.Remove(c.handle) }

// Wait returns a consumer that has a message, or news that its Try calls will tell: the end
// of its stream, the death of its producer. It waits for one until ctx ends; if that has
// ended already it returns at once, whatever there is. Each of those that have something is
// returned once before any of them again. Now and then a consumer has nothing after all
// ([ErrEmpty]).
//
// An error together with a consumer is that consumer's: what its Check found, or why it is
// of no use any more ([ErrClosed], [ErrCorrupt]), in which case it has left the Poller.
// Errors without one: a [*ContextError], [ErrClosed]. A Wait during a Wait panics.
func (p *Poller) Wait(ctx context.Context) (*Consumer, error) {
	c, err := p.ring.Wait(ctx)
	if c == nil {
		return nil, named("", err)
	}
	return c.Facade().(*Consumer), err
}

// Len returns how many consumers there are.
func (p *Poller) Len() int { return p.ring.Len() }

// Blind returns why some consumers cannot wake the Poller up; nil if all can.
func (p *Poller) Blind() error { return p.ring.Blind() }

// Close ends a Wait in progress and lets go of the consumers, which stay open.
func (p *Poller) Close() { p.ring.Close() }
