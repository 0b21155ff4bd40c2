package demo

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

// trips are round-trip times in nanoseconds.
type trips struct {
	Count int64 `json:"count"`
	P50   int64 `json:"p50_ns"`
	P90   int64 `json:"p90_ns"`
	P99   int64 `json:"p99_ns"`
	P999  int64 `json:"p999_ns"`
	Max   int64 `json:"max_ns"`
}

// fewest is how many trips are measured even if that takes longer than planned.
const fewest = 100

// pair opens both directions: a producer on one ring, a consumer on the other.
func pair(ctx context.Context, j *job, out, in string) (p *shmring.Producer, c *shmring.Consumer, done func() error, err error) {
	if p, err = shmring.OpenProducer(ctx, out, j.options()); err != nil {
		return nil, nil, nil, err
	}
	if c, err = shmring.OpenConsumer(ctx, in, j.options()); err != nil {
		return nil, nil, nil, errors.Join(err, p.Close())
	}
	return p, c, func() error { return errors.Join(p.Close(), c.Close()) }, nil
}

// ping sends a message, waits for it to come back, and takes the time of that.
func ping(ctx context.Context, j *job) (*result, error) {
	p, c, done, err := pair(ctx, j, j.Ring, j.Back)
	if err != nil {
		return nil, err
	}
	times := hdrhistogram.New(1, int64(10*time.Second), 3)
	msg, back := make([]byte, j.Size), make([]byte, j.Size)
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
		if now.Sub(begin) > j.For && times.TotalCount() >= fewest {
			break
		}
		if now.Sub(begin) > j.For/5 { // before that, processors and caches warm up
			times.RecordValue(now.Sub(sent).Nanoseconds())
		}
	}
	if err == nil {
		err = p.CloseSend(ctx)
	}
	if err = errors.Join(err, done()); err != nil {
		return nil, err
	}
	return &result{Trips: &trips{
		Count: times.TotalCount(), P50: times.ValueAtQuantile(50), P90: times.ValueAtQuantile(90),
		P99: times.ValueAtQuantile(99), P999: times.ValueAtQuantile(99.9), Max: times.Max(),
	}}, nil
}

// echo sends back what it receives.
func echo(ctx context.Context, j *job) (*result, error) {
	p, c, done, err := pair(ctx, j, j.Back, j.Ring)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, j.Size)
	r := &result{}
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
		r.Messages++
	}
	return r, errors.Join(err, done())
}
