package ring_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// eachWay runs a test with sleepers on the doorbell and with sleepers in the lot.
func eachWay(t *testing.T, f func(t *testing.T, r func(layout.Config) *rig)) {
	t.Run("bell", func(t *testing.T) { each(t, f) })
	t.Run("lot", func(t *testing.T) {
		t.Cleanup(ring.ParkEverybody())
		each(t, f)
	})
}

// heldUp is for tests in which no sleep may end by itself: longer than a busy machine holds
// up a peer between what it publishes and the bell.
const heldUp = time.Second

// Ping-pong with both sides asleep for every message: no wake-up is lost, and none
// had to be rescued by the cap.
func TestSleepAndWake(t *testing.T) {
	eachWay(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		there, back := newRig(layout.Config{Slots: 8, SlotSize: 64}), newRig(layout.Config{Slots: 8, SlotSize: 64})
		there.cap, back.cap = heldUp, heldUp
		rounds := 3000
		if testing.Short() || raceEnabled {
			rounds = 500
		}
		p1, c1, p2, c2 := there.producer(), there.consumer(), back.producer(), back.consumer()
		ctx := soon(t)
		done := make(chan error, 1)
		go func() {
			buf := make([]byte, 8)
			for range rounds {
				n, err := c1.Receive(ctx, buf)
				if err == nil {
					err = p2.Send(ctx, buf[:n])
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		buf := make([]byte, 8)
		for range rounds {
			require.NoError(t, p1.Send(ctx, buf))
			_, err := c2.Receive(ctx, buf)
			require.NoError(t, err)
		}
		require.NoError(t, <-done)
		for _, s := range []ring.Stats{c1.Stats(), c2.Stats()} {
			require.Zero(t, s.TimeoutWakeups)
		}
		// One of them may have found each message there already, where its peer's processor is busy.
		require.Positive(t, c1.Stats().Sleeps+c2.Stats().Sleeps)
		require.LessOrEqual(t, p1.Stats().Wakes, c1.Stats().Sleeps+1, "at most one wake for each sleep")
	})
}

// Producers that sleep for room on one bell all get up when there is some.
func TestSleepForRoom(t *testing.T) {
	eachWay(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		r.cap = heldUp
		senders, each := 1, 2000
		if r.cfg.Kind == layout.MPSC {
			senders = 4
		}
		if testing.Short() || raceEnabled {
			each = 300
		}
		c := r.consumer()
		ctx := soon(t)
		var all []*producer
		var wg sync.WaitGroup
		for id := range senders {
			p := r.producer()
			all = append(all, p)
			wg.Go(func() {
				for seq := range each {
					if err := p.Send(ctx, stamped(uint64(id), uint64(seq), 60)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		next := make([]uint64, senders)
		for range senders * each {
			id, seq := unstamp(t, receiveAny2(t, c, ctx))
			require.Equal(t, next[id], seq)
			next[id]++
			if seq%64 == 0 {
				runtime.Gosched() // let them fill the ring
			}
		}
		wg.Wait()
		for _, p := range all {
			require.Zero(t, p.Stats().TimeoutWakeups)
		}
	})
}

func receiveAny2(t *testing.T, c *consumer, ctx context.Context) []byte {
	buf := make([]byte, c.MaxMessage())
	n, err := c.Receive(ctx, buf)
	require.NoError(t, err)
	return buf[:n]
}

func TestContextEndsWaits(t *testing.T) {
	eachWay(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, spin := range []time.Duration{0, time.Millisecond, ring.SpinForever} {
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			r.spin = spin
			r.cap = time.Hour // so that nothing but the context can end a sleep
			p, c := r.producer(), r.consumer()
			cause := errors.New("enough")

			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Millisecond, func() { cancel(cause) })
			_, err := c.Receive(ctx, nil)
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, err, cause)
			require.LessOrEqual(t, c.Stats().Sleeps, uint64(5), "one sleep, and room for signals: it is not polling")
			_, err = c.Next(ctx)
			require.ErrorIs(t, err, context.Canceled)

			deadline, stop := context.WithTimeout(t.Context(), time.Millisecond)
			defer stop()
			_, err = c.Receive(deadline, nil)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)

			require.NoError(t, p.TrySend([]byte("data before the deadline's error")))
			buf := make([]byte, 64)
			_, err = c.Receive(deadline, buf)
			require.NoError(t, err)

			for p.TrySend(nil) == nil {
			}
			require.ErrorIs(t, p.Send(ctx, nil), context.Canceled)
			_, err = p.Claim(ctx, 1)
			require.ErrorIs(t, err, context.Canceled)
			n, err := p.SendBatch(ctx, [][]byte{{1}, {2}})
			require.ErrorIs(t, err, context.Canceled)
			require.Zero(t, n)
		}
	})
}

// Halting wakes whoever is blocked, and every later call says ErrClosed.
func TestHaltEndsWaits(t *testing.T) {
	eachWay(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, spin := range []time.Duration{0, ring.SpinForever} {
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			r.spin, r.cap = spin, time.Hour
			p, c := r.producer(), r.consumer()
			sent := 0
			for ; p.TrySend(nil) == nil; sent++ {
			}
			full := p.Stats().Full
			senders := 1
			if r.cfg.Kind == layout.MPSC {
				senders = 10
			}
			ended := make(chan error, senders)
			for range senders {
				go func() { ended <- p.Send(context.Background(), nil) }()
			}
			for p.Stats().Full-full < uint64(senders) {
				runtime.Gosched()
			}
			require.True(t, p.Close())
			require.False(t, p.Close())
			for range senders {
				require.ErrorIs(t, <-ended, os.ErrClosed)
			}
			require.ErrorIs(t, p.TrySend(nil), ring.ErrClosed)
			_, err := p.TryClaim(1)
			require.ErrorIs(t, err, ring.ErrClosed)

			buf := make([]byte, 1)
			for range sent {
				_, err := c.TryReceive(buf)
				require.NoError(t, err)
			}
			received := make(chan error, 1)
			var calling atomic.Bool
			go func() {
				calling.Store(true)
				_, err := c.Receive(context.Background(), nil)
				received <- err
			}()
			for !calling.Load() || spin == 0 && c.Stats().Sleeps == 0 {
				runtime.Gosched()
			}
			require.True(t, c.Close())
			require.ErrorIs(t, <-received, ring.ErrClosed)
			_, err = c.TryNext()
			require.ErrorIs(t, err, ring.ErrClosed)
			require.ErrorIs(t, c.Check(), ring.ErrClosed)
		}
	})
}

// A handler may close its own consumer, and a halt during a stream of calls that do
// not wait is seen by the next one.
func TestHaltUnderFire(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for range 20 {
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			p, c := r.producer(), r.consumer()
			var wg sync.WaitGroup
			wg.Go(func() {
				for p.TrySend([]byte("x")) != ring.ErrClosed {
				}
			})
			wg.Go(func() {
				for {
					if _, err := c.TryReceive(make([]byte, 8)); err == ring.ErrClosed {
						return
					}
				}
			})
			for p.Used() == 0 {
				runtime.Gosched()
			}
			p.Close()
			c.Close()
			wg.Wait()
		}
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		require.NoError(t, p.TrySend(nil))
		_, err := c.Drain(soon(t), 0, func(ring.Message) error {
			c.Close()
			return nil
		})
		require.ErrorIs(t, err, ring.ErrClosed)
	})
}

// Config.Check is asked while a call waits, and its error ends the call.
func TestCheckEndsWaits(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		_, v, cfg := r.process()
		gone := errors.New("somebody else has the name")
		cfg.Check = func() error { return gone }
		cfg.FirstSleep = time.Millisecond
		c, err := ring.NewConsumer(v, cfg)
		require.NoError(t, err)
		_, err = c.Receive(soon(t), nil)
		require.Equal(t, gone, err)
		require.Equal(t, gone, c.Check())
	})
}

// A call asks Config.Check before it sleeps for the first time, or, if the handle has asked a moment
// ago, after a short sleep: here nothing else would end that.
func TestCheckComesBeforeTheFirstSleep(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		_, v, cfg := r.process()
		gone := errors.New("a page is missing")
		var seen error
		var asked func()
		cfg.Check = func() error { asked(); return seen }
		cfg.FirstSleep = time.Hour
		c, err := ring.NewConsumer(v, cfg)
		require.NoError(t, err)
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			asked, seen = cancel, nil
			_, err = c.Receive(ctx, nil)
			require.ErrorIs(t, err, context.Canceled)
			seen = gone
			ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
			_, err = c.Receive(ctx, nil)
			cancel()
			require.Equal(t, gone, err)
		}
	})
}

// However many calls wait, and however short they sleep, they ask Config.Check once in ring.LookAgain, and a
// long wait does so once for itself, and every ring.CheckEvery.
func TestCheckIsAskedSeldom(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		const callers = 4
		for _, long := range []bool{false, true} {
			r := newRig(layout.Config{Kind: layout.MPSC, Slots: 8, SlotSize: 64})
			_, v, cfg := r.process()
			var asked atomic.Int64
			cfg.Check = func() error { asked.Add(1); return nil }
			cfg.FirstSleep = time.Millisecond
			p, err := ring.NewProducer(v, cfg)
			require.NoError(t, err)
			for p.TrySend(nil) == nil {
			}
			calls, limit := 100, 200*time.Microsecond
			if long {
				calls, limit = 1, 2*ring.CheckEvery
			}
			var all sync.WaitGroup
			begin := time.Now()
			for range callers {
				all.Go(func() {
					for range calls {
						ctx, cancel := context.WithTimeout(t.Context(), limit)
						assert.ErrorIs(t, p.Send(ctx, nil), context.DeadlineExceeded)
						cancel()
					}
				})
			}
			all.Wait()
			took := time.Since(begin)
			most := callers * int64(took/ring.CheckEvery) // each for itself
			if long {
				most += callers
			} else {
				most += 1 + int64(took/ring.LookAgain)
			}
			require.Positive(t, asked.Load())
			require.LessOrEqual(t, asked.Load(), most, "in %v", took)
		}
	})
}

// A call gets up for its first look, and for no later one: those come when it is up anyhow, and Config.NoPeer is
// asked then, too.
func TestLooksCutOneSleep(t *testing.T) {
	eachMemory(t, layout.SPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		_, v, cfg := r.process()
		cfg.Check = func() error { return nil }
		up := 0
		cfg.NoPeer = func() error { up++; return nil }
		cfg.FirstSleep = time.Hour
		c, err := ring.NewConsumer(v, cfg)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 8*ring.CheckEvery)
		defer cancel()
		_, err = c.Receive(ctx, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, up, 4) // at the deadline, or because something was parked elsewhere
	})
}

// Config.NoPeer is asked every now and then only: a call that begins to wait gives the other side time to come.
func TestNoPeerIsAskedLater(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		_, v, cfg := r.process()
		alone, looks := errors.New("nobody is there"), 0
		cfg.Check = func() error { looks++; return nil }
		cfg.NoPeer = func() error { return alone }
		cfg.FirstSleep = time.Millisecond
		c, err := ring.NewConsumer(v, cfg)
		require.NoError(t, err)
		begin := time.Now()
		_, err = c.Receive(soon(t), nil)
		require.Equal(t, alone, err)
		require.GreaterOrEqual(t, time.Since(begin), ring.CheckEvery)
		require.Positive(t, looks)
		require.LessOrEqual(t, looks, 2)
		require.Equal(t, alone, c.Check())
	})
}

// Waking and sleeping apart, no call makes garbage.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64})
		r.spin = ring.SpinForever
		p, c := r.producer(), r.consumer()
		ctx := context.Background()
		msg, buf := make([]byte, 40), make([]byte, 200)
		long := make([]byte, 200)
		batch := [][]byte{msg, msg, msg}
		handle := func(ring.Message) error { return nil }
		calls := map[string]func(){
			"TrySend, TryReceive": func() { p.TrySend(msg); c.TryReceive(buf) },
			"Send, Receive":       func() { p.Send(ctx, long); c.Receive(ctx, buf) },
			"Claim, Next": func() {
				claim, _ := p.Claim(ctx, 40)
				copy(claim.Bytes(), msg)
				claim.Commit()
				claim.Abort()
				m, _ := c.Next(ctx)
				m.Release()
			},
			"SendBatch, Drain": func() { p.SendBatch(ctx, batch); c.Drain(ctx, 0, handle) },
			"empty and full": func() {
				c.TryReceive(buf)
				for p.TrySend(nil) == nil {
				}
				for {
					m, err := c.TryNext()
					if err != nil {
						break
					}
					m.Release()
				}
			},
		}
		for name, call := range calls {
			require.Zero(t, testing.AllocsPerRun(1000, call), name)
		}
	})
}

// A handle that parks does so from its first sleep on, and is woken.
func TestPark(t *testing.T) {
	for _, mem := range memories[1:] { // heap memory has no file to be woken by
		r := newRig(t, mem, layout.Config{Kind: layout.SPSC, Slots: 8})
		r.park = true
		p, c := r.producer(), r.consumer()
		for range 20 {
			got := make(chan error)
			go func() {
				_, err := c.Receive(soon(t), make([]byte, 8))
				got <- err
			}()
			var how uint32
			require.Eventually(t, func() bool {
				how = c.view.Hot.DataBell.Load() & layout.BellSleeping
				return how != 0
			}, 20*time.Second, 100*time.Microsecond)
			require.Equal(t, layout.BellParked, how)
			require.NoError(t, p.TrySend([]byte("x")))
			require.NoError(t, <-got)
		}
		require.Empty(t, c.Stats().Fallbacks)
	}
}
