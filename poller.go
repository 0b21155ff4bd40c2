package shmring

import (
	"context"
	"sync"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Poller lets one goroutine serve many rings, without a thread or a goroutine for each:
//
//	for {
//		c, err := p.Wait(ctx)
//		// handle some of what there is: c.TryReceive, c.TryNext or c.TryDrain
//	}
//
// The consumers in it belong to the goroutine that calls Wait, which uses their Try calls
// only. How the rings' creators chose to sleep does not matter. It sleeps through inotify;
// where that is not to be had, [Poller.Blind] tells why, and it looks at its rings every
// few milliseconds.
type Poller struct {
	ring *ring.Poller

	mu   sync.Mutex
	ours map[*ring.Consumer]*Consumer
}

// NewPoller makes a Poller without consumers. Of the options only Policy, SpinFor and
// MaxSleep matter; nil is good. A dead producer is noticed after MaxSleep or after a
// millisecond for each consumer, whichever is longer.
func NewPoller(o *Options) *Poller {
	o = o.orDefault()
	return &Poller{
		ring: ring.NewPoller(ring.PollerConfig{SpinFor: o.spin(layout.Futex), FirstSleep: o.firstSleep(), MaxSleep: o.longestSleep()}),
		ours: make(map[*ring.Consumer]*Consumer),
	}
}

// Add adds a consumer; adding it again does nothing. ErrClosed if the Poller is closed.
func (p *Poller) Add(c *Consumer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.ring.Add(c.Consumer); err != nil {
		return err
	}
	p.ours[c.Consumer] = c
	return nil
}

// Remove takes a consumer out, without closing it. It reports whether it was in.
func (p *Poller) Remove(c *Consumer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.ours, c.Consumer)
	return p.ring.Remove(c.Consumer)
}

// Wait returns a consumer that has a message, or news that its Try calls will tell: the
// end of its stream, the death of its producer. It waits for one until ctx ends; those
// that have something get their turns, each once before any of them again. Now and then
// a consumer has nothing after all (ErrEmpty).
//
// An error together with a consumer is that consumer's: what its Check found, or why its
// handle is of no use any more (ErrClosed, ErrCorrupt), in which case it has left the
// Poller. Errors without one: those of ctx, ErrClosed.
func (p *Poller) Wait(ctx context.Context) (*Consumer, error) {
	c, err := p.ring.Wait(ctx)
	if c == nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ours := p.ours[c]
	if err != nil && !p.ring.Has(c) { // Closed would be too much: it may have been closed since
		delete(p.ours, c)
	}
	return ours, err
}

// Len is how many consumers there are.
func (p *Poller) Len() int { return p.ring.Len() }

// Blind tells why some consumers cannot wake the Poller up; nil if all can.
func (p *Poller) Blind() error { return p.ring.Blind() }

// Close ends a Wait in progress, from any goroutine, and lets go of the consumers, which
// stay open.
func (p *Poller) Close() { p.ring.Close() }
