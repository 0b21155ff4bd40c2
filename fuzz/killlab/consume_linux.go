package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"github.com/shmring/shmring"
)

func init() { roles["consume"] = consume }

// holdMost is the most messages of Next that a consumer keeps at a time.
const holdMost = 8

// unreleased bounds what may come again after a consumer's death: the 64 messages of
// the documentation, those held, and the batch that the last of them belongs to.
const unreleased = 64 + holdMost + batchMost

// hear makes an entry of a message, without its position.
func hear(b []byte) entry {
	e := entry{at: monotonic()}
	whole := false
	if e.source, e.seq, whole = read(b); !whole {
		e.flags = entryTorn
	}
	return e
}

// noted makes an entry of a message in place.
func noted(m shmring.Message) entry {
	e := hear(m.Bytes())
	e.record, e.index = m.Position().Record, m.Position().Index
	if m.Redelivered() {
		e.flags |= entryRedelivered
	}
	return e
}

// keep is the effect of a message: a line in the journal.
func keep(j *journal, m shmring.Message) { j.add(noted(m)) }

// expected makes nil of what a consumer may be told instead of getting a message.
func expected(err error) error {
	if err == io.EOF || err == shmring.ErrEmpty || errors.Is(err, shmring.ErrPeerDead) {
		return nil
	}
	return err
}

// consume receives by every way there is, until it is told to stop and the ring is
// empty.
func consume(ctx context.Context, a args, j *journal) error {
	rng := rand.New(rand.NewPCG(a.Seed, uint64(a.Life)))
	j.Set(phase, running)
	c, err := shmring.OpenConsumer(ctx, a.Ring, a.options())
	if err != nil {
		return err
	}
	j.Set(phase, attached)
	for {
		err := someOf(ctx, c, rng, j)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			if j.Get(command) != 0 && c.Used() == 0 {
				return c.Close()
			}
		case expected(err) != nil:
			return err
		}
	}
}

// someOf handles one message or a few. All but the last are handled when it returns;
// the wait for the first is short.
func someOf(ctx context.Context, c *shmring.Consumer, rng *rand.Rand, j *journal) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if rng.IntN(2) == 0 {
		_, err := c.Drain(ctx, 1+rng.IntN(100), func(m shmring.Message) error {
			keep(j, m)
			return nil
		})
		return err
	}
	var newest shmring.Message
	for range 1 + rng.IntN(holdMost) {
		m, err := c.TryNext()
		if err == shmring.ErrEmpty && newest.Len() == 0 {
			m, err = c.Next(ctx)
		}
		if err != nil {
			if newest.Len() > 0 {
				newest.Release()
			}
			if err == shmring.ErrEmpty {
				return nil
			}
			return err
		}
		keep(j, m)
		newest = m
	}
	newest.Release()
	return nil
}
