// Package roundtrip measures how long a message takes to another process and back.
package roundtrip

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/host"
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

// Course is how trips are made, over whatever.
type Course struct {
	Size   int           // of messages
	For    time.Duration // how long
	Fewest int64         // trips to be measured even if that takes longer
	Ran    host.Places   // where this process runs; nil: it is not noted
}

// Route is two rings, one for each direction, and what goes over them.
type Route struct {
	Course
	Out, Back string // as Ping sees it
	Options   *shmring.Options
}

// noteEvery is how many trips are between two notes of where a process runs.
const noteEvery = 1024

// Measure makes trips and takes the time of each. trip sends msg and returns what has come
// back, in a buffer of its own.
func (c *Course) Measure(trip func(msg []byte) (back []byte, err error)) (*Times, error) {
	times := hdrhistogram.New(1, int64(10*time.Second), 3)
	msg := make([]byte, c.Size)
	var number [8]byte
	begin := time.Now()
	for i := uint64(0); ; i++ {
		binary.LittleEndian.PutUint64(number[:], i)
		n := copy(msg, number[:])
		if i%noteEvery == 0 {
			c.Ran.Note()
		}
		sent := time.Now()
		back, err := trip(msg)
		now := time.Now()
		if err != nil {
			return nil, err
		}
		if len(back) != c.Size || !bytes.Equal(back[:n], number[:n]) {
			return nil, fmt.Errorf("%w: message %d of %d bytes came back as %x, of %d bytes", cli.ErrVerify, i, c.Size,
				back[:min(n, len(back))], len(back))
		}
		if now.Sub(begin) > c.For && times.TotalCount() >= c.Fewest {
			break
		}
		if now.Sub(begin) > c.For/5 { // before that, processors and caches warm up
			times.RecordValue(now.Sub(sent).Nanoseconds())
		}
	}
	return &Times{
		Count: times.TotalCount(), P50: times.ValueAtQuantile(50), P90: times.ValueAtQuantile(90),
		P99: times.ValueAtQuantile(99), P999: times.ValueAtQuantile(99.9), Max: times.Max(),
	}, nil
}

// Reflect calls again, which receives a message and sends it back, until that returns io.EOF.
func (c *Course) Reflect(again func() error) (messages uint64, err error) {
	for ; err == nil; messages++ {
		if messages%noteEvery == 0 {
			c.Ran.Note()
		}
		err = again()
	}
	if err == io.EOF {
		err = nil
	}
	return messages - 1, err
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
	buf := make([]byte, r.Size)
	times, err := r.Measure(func(msg []byte) ([]byte, error) {
		if err := p.Send(ctx, msg); err != nil {
			return nil, err
		}
		n, err := c.Receive(ctx, buf)
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	})
	if err == nil {
		err = p.CloseSend()
	}
	return times, errors.Join(err, done())
}

// Echo sends back what it receives, and returns how much that was.
func (r *Route) Echo(ctx context.Context) (messages uint64, err error) {
	p, c, done, err := r.pair(ctx, r.Back, r.Out)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, r.Size)
	messages, err = r.Reflect(func() error {
		n, err := c.Receive(ctx, buf)
		if err != nil {
			return err
		}
		return p.Send(ctx, buf[:n])
	})
	return messages, errors.Join(err, done())
}
