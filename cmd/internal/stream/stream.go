package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/host"
	"github.com/shmring/shmring/cmd/internal/load"
	"github.com/shmring/shmring/layout"
)

// Stream is a ring and what goes over it.
type Stream struct {
	Ring      string
	Options   *shmring.Options
	Size      int           // of messages
	Producers int           // that send
	For       time.Duration // how long each sends
	Ran       host.Places   // where this process runs; nil: it is not noted
}

// warmUp is how many messages are not measured: one more than the ring holds, so when
// they are sent the consumer is awake.
func (s *Stream) warmUp(i shmring.Info) uint64 {
	slot := max(i.SlotSize, layout.InlineSize)
	return uint64(i.Slots/max(1, (s.Size+slot-1)/slot) + 1)
}

// Produce calls send until the time is over, then last, and ends the stream.
func (s *Stream) Produce(ctx context.Context, send, last func(*shmring.Producer) error) (*Sent, error) {
	p, err := shmring.OpenProducer(ctx, s.Ring, s.Options)
	if err != nil {
		return nil, err
	}
	sent, err := Pump(s.warmUp(p.Info()), s.For, s.Ran, func() error { return send(p) })
	if err == nil {
		err = last(p)
	}
	if err == nil {
		err = p.CloseSend()
	}
	return &sent, errors.Join(err, p.Close())
}

// Send sends as fast as it can, and marks the end for Receive.
func (s *Stream) Send(ctx context.Context) (*Sent, error) {
	msg := make([]byte, s.Size)
	return s.Produce(ctx,
		func(p *shmring.Producer) error { return p.Send(ctx, msg) },
		func(p *shmring.Producer) error { return p.SendKind(ctx, nil, load.Last) })
}

// drainMost is how many messages are received between two looks at the clock.
const drainMost = 256

// Receive copies every message out of the ring, until all producers have said that they have
// ended. A receiver that only counted would measure how fast descriptors go by, not bytes.
func (s *Stream) Receive(ctx context.Context) (*Rate, error) {
	c, err := shmring.OpenConsumer(ctx, s.Ring, s.Options)
	if err != nil {
		return nil, err
	}
	m := Meter{Long: s.For, Warm: s.warmUp(c.Info()), Ran: s.Ran}
	own := make([]byte, s.Size)
	var begun, ended int // producers that have sent, and that have sent all
	var of [256]bool     // which have begun
	for ended < s.Producers {
		n, err := c.Drain(ctx, drainMost, func(msg shmring.Message) error {
			if msg.Kind() == load.Last {
				ended++
				return nil
			}
			if n := copy(own, msg.Bytes()); n != s.Size || msg.Len() != n {
				return fmt.Errorf("%w: a message of %d bytes among those of %d", cli.ErrVerify, msg.Len(), s.Size)
			}
			if begun < s.Producers && !of[msg.Producer()&0xff] {
				of[msg.Producer()&0xff] = true
				begun++
			}
			return nil
		})
		// Between two producers that do not overlap the stream ends and goes on.
		if err != nil && err != io.EOF {
			return nil, errors.Join(err, c.Close())
		}
		m.Add(n, begun >= s.Producers && ended == 0)
	}
	r := m.Rate()
	r.Received -= uint64(ended) // the marks
	return r, c.Close()
}
