package demo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/load"
	"github.com/shmring/shmring/cmd/internal/stream"
)

// sendAll sends as fast as it can.
func sendAll(ctx context.Context, j *job) (*result, error) {
	sent, err := j.stream().Send(ctx)
	return sentBy(sent), err
}

func sentBy(s *stream.Sent) *result {
	if s == nil {
		return nil
	}
	return &result{Messages: s.Messages}
}

// count receives, and takes the time.
func count(ctx context.Context, j *job) (*result, error) {
	rate, err := j.stream().Receive(ctx)
	if err != nil {
		return nil, err
	}
	return &result{Messages: rate.Measured, NsPerMessage: rate.NsPerMessage}, nil
}

// streamLoad sends messages that can be verified.
func streamLoad(ctx context.Context, j *job) (*result, error) {
	var g *load.Generator
	sent, err := j.stream().Produce(ctx,
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
	return sentBy(sent), err
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
