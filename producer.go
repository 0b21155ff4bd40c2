package shmring

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Producer sends messages into a ring. The methods that move messages are those of
// [ring.Producer]: Send, TrySend, SendBatch, Claim and CloseSend, with their Try and
// Kind variants. See there for what each returns.
//
// The Producer of an SPSC ring is for one goroutine at a time, that of an MPSC ring
// for any number.
type Producer struct {
	*ring.Producer
	s       *segment
	linger  time.Duration
	closing sync.Once
	err     error
}

// OpenProducer attaches a producer to the named ring, which it creates if need be
// (see Options.Mode). ctx bounds waiting for the ring or for a role, not the life of
// the handle. Errors: those listed at ErrFull and its neighbours; ErrBusy when the
// ring has no room for another producer.
func OpenProducer(ctx context.Context, name string, o *Options) (*Producer, error) {
	p := &Producer{linger: o.orDefault().Linger}
	if p.linger == 0 {
		p.linger = DefaultLinger
	}
	s, err := join(ctx, name, o, ModeOpenOrCreate, func(v *layout.View, cfg ring.Config) (att ring.Attachment, err error) {
		if p.Producer, err = ring.NewProducer(v, cfg); err != nil {
			return att, err
		}
		return p.Attachment(), nil
	})
	if err != nil {
		return nil, err
	}
	p.s = s
	return p, nil
}

// Info tells what opening did and found.
func (p *Producer) Info() Info { return p.s.info }

// Close wakes and ends calls that are blocked, ends the stream if CloseSend has not
// (see Options.Linger), and detaches. The ring stays. It is safe to call from any
// goroutine; calls after the first return what that returned. The error tells that
// the end of the stream could not be sent, because the ring stayed full or is
// corrupt, or that the system refused something; the handle is closed all the same.
func (p *Producer) Close() error {
	p.closing.Do(func() { p.err = p.close() })
	return p.err
}

func (p *Producer) close() error {
	var err error
	if p.linger < 0 {
		p.Producer.Close()
	} else {
		ctx, cancel := context.WithTimeout(context.Background(), p.linger)
		if err = p.CloseAndEnd(ctx); err != nil {
			err = fmt.Errorf("shmring: close: end of stream not sent: %w", err)
		}
		cancel()
	}
	return errors.Join(err, p.s.detach(p.Attachment()))
}
