package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/load"
)

// clockEvery is how many messages a sender sends between two looks at the clock.
const clockEvery = 64

// warmUp is how many messages a stream begins with that are not measured: one more
// than the ring holds, so when they are sent the consumer is awake.
func (j *job) warmUp(i shmring.Info) int {
	return i.Slots/max(1, (j.Size+i.SlotSize-1)/i.SlotSize) + 1
}

// produce calls send until the job's time is over, and ends the stream.
func produce(ctx context.Context, j *job, send func(*shmring.Producer) error,
	last func(*shmring.Producer) error) (*result, error) {
	p, err := shmring.OpenProducer(ctx, j.Ring, j.options())
	if err != nil {
		return nil, err
	}
	r := &result{}
	for warm := uint64(j.warmUp(p.Info())); err == nil && r.Messages < warm; r.Messages++ {
		err = send(p)
	}
	begin := time.Now()
	for err == nil && time.Since(begin) < j.For {
		for i := 0; i < clockEvery && err == nil; i++ {
			err = send(p)
		}
		r.Messages += clockEvery
	}
	if err == nil {
		err = last(p)
	}
	if err == nil {
		err = p.CloseSend()
	}
	return r, errors.Join(err, p.Close())
}

// stream sends as fast as it can.
func stream(ctx context.Context, j *job) (*result, error) {
	msg := make([]byte, j.Size)
	return produce(ctx, j,
		func(p *shmring.Producer) error { return p.Send(ctx, msg) },
		func(*shmring.Producer) error { return nil })
}

// streamLoad sends messages that can be verified.
func streamLoad(ctx context.Context, j *job) (*result, error) {
	var g *load.Generator
	return produce(ctx, j,
		func(p *shmring.Producer) error {
			if g == nil {
				g = load.NewGenerator(p.Info().Participant, load.Sizes{Min: j.Size, Max: j.Size})
			}
			claim, err := p.Claim(ctx, g.Size())
			if err != nil {
				return err
			}
			defer claim.Abort()
			claim.SetKind(g.Kind())
			g.Fill(claim.Bytes())
			g.Advance()
			return claim.Commit()
		},
		func(p *shmring.Producer) error {
			return p.SendKind(ctx, g.Last(p.MaxMessage()), load.Last)
		})
}

// intervals is in how many pieces a stream is measured. Their median is not moved by
// a pause that the system forces on one of them.
const intervals = 20

// drainMost is how many messages are received between two looks at the clock.
const drainMost = 256

// count receives, copies every message out of the ring, and takes the time. A receiver that
// only counts would measure how fast descriptors go by, not bytes.
func count(ctx context.Context, j *job) (*result, error) {
	c, err := shmring.OpenConsumer(ctx, j.Ring, j.options())
	if err != nil {
		return nil, err
	}
	r := &result{}
	own := make([]byte, j.Size)
	var each []float64 // nanoseconds per message, by interval
	opened, begin := time.Now(), time.Time{}
	var seen, since int
	for {
		n, err := c.Drain(ctx, drainMost, func(m shmring.Message) error {
			if n := copy(own, m.Bytes()); n != j.Size || m.Len() != n {
				return fmt.Errorf("%w: a message of %d bytes among those of %d", cli.ErrVerify, m.Len(), j.Size)
			}
			return nil
		})
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		seen += n
		if begin.IsZero() {
			if seen >= j.warmUp(c.Info()) {
				begin = time.Now()
			}
			continue
		}
		since += n
		if d := time.Since(begin); d >= j.For/intervals {
			each = append(each, float64(d.Nanoseconds())/float64(since))
			r.Messages += uint64(since)
			begin, since = time.Now(), 0
		}
	}
	if len(each) == 0 { // on a machine too busy to run both sides at once
		each = append(each, float64(time.Since(opened).Nanoseconds())/float64(max(1, seen)))
		r.Messages = uint64(seen)
	}
	slices.Sort(each)
	r.NsPerMessage = each[len(each)/2]
	return r, c.Close()
}

// verify checks every message until all producers have sent their last.
func verify(ctx context.Context, j *job) (*result, error) {
	c, err := shmring.OpenConsumer(ctx, j.Ring, j.options())
	if err != nil {
		return nil, err
	}
	v := load.Verifier{FromStart: true}
	var report load.Report
	for report.Finished < j.Producers {
		_, err := c.Drain(ctx, 0, func(m shmring.Message) error {
			v.Check(load.Message{Slot: m.Producer(), Kind: m.Kind(), Again: m.Redelivered(), Data: m.Bytes()})
			return nil
		})
		report = v.Report()
		// Between two producers that do not overlap the stream ends and goes on.
		if err != nil && err != io.EOF {
			return nil, errors.Join(
				fmt.Errorf("%w after %d messages of %d streams", err, report.Verified, report.Streams), c.Close())
		}
	}
	if !report.OK() || report.Streams != j.Producers {
		return nil, errors.Join(fmt.Errorf("%w: %+v", cli.ErrVerify, report), c.Close())
	}
	return &result{Messages: report.Verified, Verify: &report}, c.Close()
}
