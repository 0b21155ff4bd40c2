package ring_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// canceled is a context that ended before anybody asked it.
func canceled(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A loop over blocking calls that always find something to do ends with its context.
func TestContextEndsLoopsOfTheConsumer(t *testing.T) {
	buf := make([]byte, 64)
	none := func(ring.Message) error { return nil }
	drain := func(max int) func(context.Context, *consumer) (int, error) {
		return func(ctx context.Context, c *consumer) (int, error) { return c.Drain(ctx, max, none) }
	}
	for _, way := range []struct {
		name string
		// do takes some messages, and reports how many.
		do   func(ctx context.Context, c *consumer) (int, error)
		most int
	}{
		{"Receive", func(ctx context.Context, c *consumer) (int, error) {
			_, err := c.Receive(ctx, buf)
			return 1, err
		}, 64},
		{"Next", func(ctx context.Context, c *consumer) (int, error) {
			m, err := c.Next(ctx)
			m.Release()
			return 1, err
		}, 64},
		{"All", func(ctx context.Context, c *consumer) (n int, err error) {
			for _, err = range c.All(ctx) {
				if n++; n > 1000 {
					break
				}
			}
			return n, err
		}, 65},
		{"Drain 1", drain(1), 64},
		{"Drain 7", drain(7), 64 + 7},
		{"Drain 500", drain(500), 500},
	} {
		for _, batch := range []int{1, 100} {
			t.Run(fmt.Sprintf("%s/batches of %d", way.name, batch), func(t *testing.T) {
				each(t, func(t *testing.T, rig func(layout.Config) *rig) {
					r := rig(layout.Config{Slots: 2048, SlotSize: 64})
					sendInBatches(t, r.producer(), 1500, batch)
					c := r.consumer()
					ctx, n := canceled(t), 0
					for {
						some, err := way.do(ctx, c)
						n += some
						if err != nil {
							require.ErrorIs(t, err, context.Canceled)
							break
						}
						require.LessOrEqual(t, n, way.most)
					}
					// Nothing is lost by that.
					if way.name != "All" {
						n--
					}
					for {
						some, err := c.TryDrain(0, none)
						if n += some; err != nil {
							require.ErrorIs(t, err, ring.ErrEmpty)
							break
						}
					}
					require.GreaterOrEqual(t, n, 1499)
				})
			})
		}
	}
}

func sendInBatches(t testing.TB, p *producer, count, batch int) {
	msgs := make([][]byte, count)
	for i := range msgs {
		msgs[i] = line("")
	}
	for len(msgs) > 0 {
		n, err := p.SendBatch(soon(t), msgs[:min(batch, len(msgs))])
		require.NoError(t, err)
		msgs = msgs[n:]
	}
}

// One that always holds a message is asked too.
func TestContextEndsNextWhileOneIsHeld(t *testing.T) {
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		r := rig(layout.Config{Slots: 1024, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		for range 500 {
			require.NoError(t, p.TrySend(line("x")))
		}
		held, err := c.Next(soon(t))
		require.NoError(t, err)
		ctx := canceled(t)
		for n := 0; ; n++ {
			next, err := c.Next(ctx)
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				break
			}
			require.LessOrEqual(t, n, 65)
			held.Release()
			held = next
		}
	})
}

func TestContextEndsLoopsOfTheProducer(t *testing.T) {
	msg := line("")
	batch := make([][]byte, 16)
	for i := range batch {
		batch[i] = make([]byte, 200)
	}
	for name, do := range map[string]func(ctx context.Context, p *producer) error{
		"Send":     func(ctx context.Context, p *producer) error { return p.Send(ctx, msg) },
		"SendKind": func(ctx context.Context, p *producer) error { return p.SendKind(ctx, msg, 7) },
		"Send, 4 slots": func(ctx context.Context, p *producer) error {
			return p.Send(ctx, make([]byte, 250))
		},
		"SendBatch": func(ctx context.Context, p *producer) error {
			_, err := p.SendBatch(ctx, batch)
			return err
		},
		"Claim": func(ctx context.Context, p *producer) error {
			c, err := p.Claim(ctx, len(msg))
			if err == nil {
				err = c.Commit()
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, rig func(layout.Config) *rig) {
				r := rig(layout.Config{Slots: 1024, SlotSize: 64})
				p, c := r.producer(), r.consumer()
				for range 100 {
					require.NoError(t, p.TrySend(msg), "calls that do not wait ask nothing")
				}
				ctx := canceled(t)
				for n := 0; ; n++ {
					if err := do(ctx, p); err != nil {
						require.ErrorIs(t, err, context.Canceled)
						break
					}
					require.LessOrEqual(t, n, 64)
					c.TryDrain(0, func(ring.Message) error { return nil })
				}
				require.NoError(t, do(soon(t), p))
			})
		})
	}
}

// Calls that do not wait know nothing of all that.
func TestTryCallsAskNoContext(t *testing.T) {
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		r := rig(layout.Config{Slots: 1024, SlotSize: 64})
		p, other, c := r.producer(), (*producer)(nil), r.consumer()
		if r.cfg.Kind == layout.MPSC {
			other = r.producer()
		}
		sent := 0
		for round := range 50 {
			for i := range 100 {
				switch i % 4 {
				case 0:
					require.NoError(t, p.TrySend([]byte("x")))
				case 1:
					claim, err := p.TryClaim(200)
					require.NoError(t, err)
					require.NoError(t, claim.Commit())
				case 2:
					n, err := p.TrySendBatch([][]byte{make([]byte, 64), make([]byte, 64)})
					require.NoError(t, err)
					sent += n - 1
				case 3:
					if other == nil {
						other = p
					}
					for range round + 1 { // so far as to make p look
						require.NoError(t, other.TrySend([]byte("x")))
					}
					sent += round
				}
				sent++
				got, err := c.TryDrain(0, func(ring.Message) error { return nil })
				require.NoError(t, err)
				sent -= got
			}
		}
		require.Zero(t, sent)
	})
}

// The release of what Next returned does not release what Receive has returned since, with
// which the user may still be at work.
func TestReleaseLeavesAloneWhatReceiveReturned(t *testing.T) {
	each(t, func(t *testing.T, rig func(layout.Config) *rig) {
		for _, way := range []struct {
			name string
			do   func(c *consumer) // of messages 0 to 5
			left int               // the first that the successor must get
		}{
			{"Next, Receive, Release", func(c *consumer) {
				m := next(t, c)
				receive(t, c)
				m.Release()
			}, 1},
			{"Next, Receive, Receive, Release", func(c *consumer) {
				m := next(t, c)
				receive(t, c)
				receive(t, c)
				m.Release()
			}, 2},
			{"Receive, Next, Receive, Release", func(c *consumer) {
				receive(t, c)
				m := next(t, c)
				receive(t, c)
				m.Release()
			}, 2},
			{"Next, Receive, Next, both released", func(c *consumer) {
				m := next(t, c)
				receive(t, c)
				n := next(t, c)
				m.Release()
				n.Release()
			}, 3},
			{"Next, Receive, Release, Receive", func(c *consumer) {
				m := next(t, c)
				receive(t, c)
				m.Release()
				receive(t, c)
			}, 2},
			{"Next, Next, Receive, first released", func(c *consumer) {
				m := next(t, c)
				next(t, c)
				receive(t, c)
				m.Release()
			}, 1},
		} {
			t.Run(way.name, func(t *testing.T) {
				r := rig(layout.Config{Slots: 1024, SlotSize: 64})
				p, c := r.producer(), r.consumer()
				msg := make([]byte, 4088) // so long that each release is stored at once
				for i := range 6 {
					msg[0] = byte(i)
					require.NoError(t, p.TrySend(msg))
				}
				way.do(c)
				c.die()
				buf := make([]byte, len(msg))
				_, err := r.consumer().TryReceive(buf)
				require.NoError(t, err)
				require.LessOrEqual(t, int(buf[0]), way.left, "lost")
			})
		}
	})
}

func next(t testing.TB, c *consumer) ring.Message {
	m, err := c.TryNext()
	require.NoError(t, err)
	return m
}

func receive(t testing.TB, c *consumer) {
	_, err := c.TryReceive(make([]byte, c.MaxMessage()))
	require.NoError(t, err)
}
