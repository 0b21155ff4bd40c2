package produce

import (
	"context"
	"time"

	"github.com/shmring/shmring/cmd/internal/load"
)

// generate sends made-up messages: count of them, or until ctx ends if count is 0.
func (o *outlet) generate(ctx context.Context, c *config) error {
	g := load.NewGenerator(o.p.Info().Participant, c.sizes)
	pace := newPace(c.rate)
	for i := int64(0); (c.generate == 0 || i < c.generate) && ctx.Err() == nil; i++ {
		if !pace.wait(ctx, i) {
			break
		}
		sent, err := o.sendClaim(g.Size(), g.Kind(), func(b []byte) (int, error) {
			g.Fill(b)
			return len(b), nil
		})
		if err != nil {
			return err
		}
		if sent {
			g.Advance()
		}
	}
	return o.sendLast(g.Last(o.p.MaxMessage()))
}

// sendLast waits for room whatever -full says: without its last message the stream
// looks as if it had lost its end.
func (o *outlet) sendLast(msg []byte) error {
	return o.wait(func(ctx context.Context) error { return o.p.SendKind(ctx, msg, load.Last) })
}

// pace spreads messages evenly over time.
type pace struct {
	begin time.Time
	gap   float64 // nanoseconds; 0: none
}

func newPace(perSecond float64) pace {
	if perSecond == 0 {
		return pace{}
	}
	return pace{time.Now(), float64(time.Second) / perSecond}
}

// wait waits until message i is due; false when ctx ended.
func (p pace) wait(ctx context.Context, i int64) bool {
	if p.gap == 0 {
		return true
	}
	ahead := time.Until(p.begin.Add(time.Duration(float64(i) * p.gap)))
	if ahead <= 0 {
		return true
	}
	select {
	case <-time.After(ahead):
		return true
	case <-ctx.Done():
		return false
	}
}
