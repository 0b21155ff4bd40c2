package produce

import (
	"context"
	"errors"
	"fmt"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/fanout"
)

const maxBatch = 4096

// outlet sends, and does what -full says when there is no room.
type outlet struct {
	phases
	p        *shmring.Producer
	fan      *fanout.FanOut // with p and others behind it (-also), or nil
	lost     []error        // of those others
	full     string
	patience *cli.Patience
	still    *cli.Still
	totals   *cli.Totals
}

// offer calls try and, when the ring is full and that is to be waited for, wait. sent
// is false when the message was dropped.
func (o *outlet) offer(try func() error, wait func(context.Context) error) (sent bool, err error) {
	for {
		switch err := try(); err {
		case nil:
			return true, nil
		case shmring.ErrContended:
			continue
		case shmring.ErrFull:
			return o.noRoom(wait)
		default:
			return false, err
		}
	}
}

func (o *outlet) noRoom(wait func(context.Context) error) (sent bool, err error) {
	o.totals.Full++
	switch o.full {
	case drop:
		o.p.CountDropped(1)
		return false, nil
	case fail:
		return false, fmt.Errorf(
			"%w after %d messages: start a consumer, give the ring more -slots, or wait with -full block",
			shmring.ErrFull, o.totals.Messages)
	}
	err = o.wait(wait)
	return err == nil, err
}

// wait calls a blocking call, bounded by -timeout and by the grace after a signal.
func (o *outlet) wait(f func(context.Context) error) error {
	o.still.Begin()
	err := f(o.patience.Begin())
	o.patience.End()
	o.still.End()
	switch {
	case errors.Is(err, cli.ErrTimeout):
		return fmt.Errorf("the ring was full for all of -timeout: %w: is a consumer running, and does it keep up?",
			cli.ErrTimeout)
	case errors.Is(err, cli.ErrInterrupted):
		return fmt.Errorf("interrupted, and the ring was full until %v later: the last of what was read is not sent: %w",
			o.roomFor(), cli.ErrTimeout)
	}
	return err
}

// maxMessage is the length of the longest message that can be sent.
func (o *outlet) maxMessage() int {
	if o.fan != nil {
		return o.fan.MaxMessage()
	}
	return o.p.MaxMessage()
}

func (o *outlet) sent(n int) {
	o.totals.Messages++
	o.totals.Bytes += uint64(n)
}

// send sends one message, whose kind is 0.
func (o *outlet) send(msg []byte) error {
	if o.fan != nil {
		return o.fanOut([][]byte{msg})
	}
	sent, err := o.offer(
		func() error { return o.p.TrySend(msg) },
		func(ctx context.Context) error { return o.p.Send(ctx, msg) })
	if sent {
		o.sent(len(msg))
	}
	return err
}

// sendBatch sends messages packed together. Of those that meet a full ring each is
// dropped by itself.
func (o *outlet) sendBatch(msgs [][]byte) error {
	if o.fan != nil {
		return o.fanOut(msgs)
	}
	for len(msgs) > 0 {
		n := 0
		sent, err := o.offer(
			func() error {
				m, err := o.p.TrySendBatch(msgs[n:])
				n += m
				return err
			},
			func(ctx context.Context) error {
				m, err := o.p.SendBatch(ctx, msgs[n:])
				n += m
				return err
			})
		for _, msg := range msgs[:n] {
			o.sent(len(msg))
		}
		if err != nil {
			return err
		}
		if !sent {
			n++
		}
		msgs = msgs[n:]
	}
	return nil
}

// sendClaim lets fill write a message of up to n bytes in place; it returns how long
// it became, or an error, and then nothing is sent. A message that is dropped is not
// filled first.
func (o *outlet) sendClaim(n int, kind uint16, fill func(b []byte) (int, error)) (sent bool, err error) {
	var claim shmring.Claim
	sent, err = o.offer(
		func() (err error) { claim, err = o.p.TryClaim(n); return err },
		func(ctx context.Context) (err error) { claim, err = o.p.Claim(ctx, n); return err })
	if !sent {
		return false, err
	}
	defer claim.Abort()
	size, err := fill(claim.Bytes())
	if err != nil {
		return false, err
	}
	if size < n {
		claim.Shorten(size)
	}
	claim.SetKind(kind)
	if err := claim.Commit(); err != nil {
		return false, err
	}
	o.sent(size)
	return true, nil
}
