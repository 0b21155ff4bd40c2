// Package roundtrip measures how long a message takes to another process and back.
package roundtrip

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

// Times are round-trip times in nanoseconds.
type Times struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50_ns"`
	P90   int64 `json:"p90_ns"`
	P99   int64 `json:"p99_ns"`
	P999  int64 `json:"p999_ns"`
	Max   int64 `json:"max_ns"`
}

// Route is two rings, one for each direction, and what goes over them.
type Route struct {
	Out, Back string // as Ping sees it
	Options   *shmring.Options
	Size      int           // of messages, at least 8 bytes
	For       time.Duration // how long
	Fewest    int64         // trips to be measured even if that takes longer
}

// pair opens both directions: a producer on one ring, a consumer on the other.
func (r *Route) pair(ctx context.Context,
	out, in string) (p *shmring.Producer, c *shmring.Consumer, done func() error, err error) {
	if p, err = shmring.OpenProducer(ctx, out, r.Options); err != nil {
		return nil, nil, nil, err
	}
	if c, err = shmring.OpenConsumer(ctx, in, r.Options); err != nil {
		return nil, nil, nil, errors.Join(err, p.Close())
	}
	return p, c, func() error { return errors.Join(p.Close(), c.Close()) }, nil
}

// Ping sends a message, waits for it to come back, and takes the time of that, again
// and again.
func (r *Route) Ping(ctx context.Context) (*Times, error) {
	p, c, done, err := r.pair(ctx, r.Out, r.Back)
	if err != nil {
		return nil, err
	}
	times := hdrhistogram.New(1, int64(10*time.Second), 3)
	msg, back := make([]byte, r.Size), make([]byte, r.Size)
	begin := time.Now()
	for i := uint64(0); ; i++ {
		binary.LittleEndian.PutUint64(msg, i)
		sent := time.Now()
		if err = p.Send(ctx, msg); err != nil {
			break
		}
		if _, err = c.Receive(ctx, back); err != nil {
			break
		}
		now := time.Now()
		if got := binary.LittleEndian.Uint64(back); got != i {
			err = fmt.Errorf("%w: message %d came back as %d", cli.ErrVerify, i, got)
			break
		}
		if now.Sub(begin) > r.For && times.TotalCount() >= r.Fewest {
			break
		}
		if now.Sub(begin) > r.For/5 { // before that, processors and caches warm up
			times.RecordValue(now.Sub(sent).Nanoseconds())
		}
	}
	if err == nil {
		err = p.CloseSend()
	}
	if err = errors.Join(err, done()); err != nil {
		return nil, err
	}
	return &Times{
		Count: times.TotalCount(), P50: times.ValueAtQuantile(50), P90: times.ValueAtQuantile(90),
		P99: times.ValueAtQuantile(99), P999: times.ValueAtQuantile(99.9), Max: times.Max(),
	}, nil
}

// Echo sends back what it receives, and returns how much that was.
func (r *Route) Echo(ctx context.Context) (messages uint64, err error) {
	p, c, done, err := r.pair(ctx, r.Back, r.Out)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, r.Size)
	for {
		n, e := c.Receive(ctx, buf)
		if e == io.EOF {
			break
		}
		if e == nil {
			e = p.Send(ctx, buf[:n])
		}
		if err = e; err != nil {
			break
		}
		messages++
	}
	return messages, errors.Join(err, done())
}
