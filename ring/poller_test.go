package ring_test

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

func newPoller(t *testing.T, spin time.Duration) *ring.Poller {
	p := ring.NewPoller(ring.PollerConfig{SpinFor: spin})
	t.Cleanup(p.Close)
	return p
}

// Many rings, one goroutine that receives: every message arrives once and in order, and
// nobody had to be rescued.
func TestPollerReceivesEverything(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, spin := range []time.Duration{0, 20 * time.Microsecond} {
			rings, each := 20, 200
			if raceEnabled {
				each = 50
			}
			p := newPoller(t, spin)
			ctx := soon(t)
			var wg sync.WaitGroup
			id := map[*ring.Consumer]uint64{}
			for i := range rings {
				r := newRig(layout.Config{Slots: 8, SlotSize: 64})
				c, s := r.consumer(), r.producer()
				id[c.Consumer] = uint64(i)
				require.NoError(t, p.Add(c.Consumer))
				require.NoError(t, p.Add(c.Consumer))
				wg.Go(func() {
					for seq := range each {
						if err := s.Send(ctx, stamped(uint64(i), uint64(seq), 60)); err != nil {
							t.Error(err)
							return
						}
						if seq%10 == i%10 {
							time.Sleep(time.Duration(i) * 10 * time.Microsecond)
						}
					}
				})
			}
			require.Equal(t, rings, p.Len())
			require.NoError(t, p.Blind())
			next := make([]uint64, rings)
			buf := make([]byte, 64)
			for left := rings * each; left > 0; {
				c, err := p.Wait(ctx)
				require.NoError(t, err)
				for {
					n, err := c.TryReceive(buf)
					if err == ring.ErrEmpty {
						break
					}
					require.NoError(t, err)
					from, seq := unstamp(t, buf[:n])
					require.Equal(t, id[c], from)
					require.Equal(t, next[from], seq)
					next[from]++
					left--
				}
			}
			wg.Wait()
			for c := range id {
				require.Zero(t, c.Stats().TimeoutWakeups)
			}
			p.Close()
		}
	})
}

// Ring after ring, each once before any of them again, however full some are.
func TestPollerIsFair(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		p := newPoller(t, 0)
		ctx := soon(t)
		var senders []*producer
		for range 5 {
			r := newRig(layout.Config{Slots: 64, SlotSize: 64})
			require.NoError(t, p.Add(r.consumer().Consumer))
			senders = append(senders, r.producer())
		}
		for _, s := range senders {
			for range 10 {
				require.NoError(t, s.TrySend(nil))
			}
		}
		for range 10 {
			seen := map[*ring.Consumer]bool{}
			for range senders {
				c, err := p.Wait(ctx)
				require.NoError(t, err)
				require.False(t, seen[c], "it had its turn")
				seen[c] = true
				_, err = c.TryReceive(nil)
				require.NoError(t, err)
			}
		}
		// One that never runs dry does not keep another from being heard.
		require.NoError(t, senders[0].TrySend(nil))
		flooded, err := p.Wait(ctx)
		require.NoError(t, err)
		require.NoError(t, senders[4].TrySend(nil))
		others := 0
		for range 10 {
			require.NoError(t, senders[0].TrySend(nil))
			c, err := p.Wait(ctx)
			require.NoError(t, err)
			_, err = c.TryReceive(nil)
			require.NoError(t, err)
			if c != flooded {
				others++
			}
		}
		require.Equal(t, 1, others)
	})
}

// News of a quiet consumer, which it has only from its own looking around, is told though
// another never runs dry.
func TestPollerTellsOfTheQuietBesideTheBusy(t *testing.T) {
	gone := errors.New("its file is gone")
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, armed := range []bool{false, true} {
			p := ring.NewPoller(ring.PollerConfig{FirstSleep: time.Millisecond})
			defer p.Close()
			ctx := soon(t)
			busy := newRig(layout.Config{Slots: 8, SlotSize: 64})
			s := busy.producer()
			require.NoError(t, p.Add(busy.consumer().Consumer))
			_, v, cfg := newRig(layout.Config{Slots: 8, SlotSize: 64}).process()
			var seen error
			cfg.Check = func() error { return seen }
			quiet, err := ring.NewConsumer(v, cfg)
			require.NoError(t, err)
			require.NoError(t, p.Add(quiet))
			told := false
			for !told && ctx.Err() == nil {
				if !armed || quiet.Stats().Sleeps > 0 {
					seen = gone
				}
				require.NoError(t, s.TrySend(nil))
				c, err := p.Wait(ctx)
				if c == quiet {
					require.Equal(t, gone, err)
					told = true
					break
				}
				require.NoError(t, err)
				_, err = c.TryReceive(nil)
				require.NoError(t, err)
			}
			require.True(t, told, "armed: %v", armed)
		}
	})
}

// wakesFor lets the producer send when the Poller is asleep, which then hands out the consumer.
func wakesFor(t *testing.T, p *ring.Poller, c *consumer, s *producer, asleep func() bool) {
	t.Helper()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for !asleep() {
			runtime.Gosched()
		}
		if err := s.TrySend(nil); err != nil {
			t.Error(err)
		}
	}()
	got, err := p.Wait(soon(t))
	require.NoError(t, err)
	require.Same(t, c.Consumer, got)
	_, err = c.TryReceive(nil)
	require.NoError(t, err)
	<-sent
}

// A Poller sleeps until somebody sends, and is woken by contexts and Close.
func TestPollerSleeps(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		p := ring.NewPoller(ring.PollerConfig{FirstSleep: time.Hour})
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		c, s := r.consumer(), r.producer()
		require.NoError(t, p.Add(c.Consumer))
		for range 200 {
			slept := c.Stats().Sleeps
			wakesFor(t, p, c, s, func() bool { return c.Stats().Sleeps > slept })
		}
		require.LessOrEqual(t, s.Stats().Wakes, c.Stats().Sleeps)

		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := p.Wait(ctx)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, s.TrySend(nil))
		_, err = p.Wait(ctx)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "a loop over Wait ends though there is always data")
		got, err := p.Wait(soon(t))
		require.NoError(t, err, "and nothing is lost by that")
		require.Same(t, c.Consumer, got)
		_, err = c.TryReceive(nil)
		require.NoError(t, err)

		// A consumer that is closed says so, and leaves.
		go c.Close()
		got, err = p.Wait(soon(t))
		require.ErrorIs(t, err, ring.ErrClosed)
		require.Same(t, c.Consumer, got)
		require.Zero(t, p.Len())

		ended := make(chan error)
		go func() {
			_, err := p.Wait(context.Background())
			ended <- err
		}()
		p.Close()
		require.ErrorIs(t, <-ended, ring.ErrClosed)
		require.ErrorIs(t, p.Add(c.Consumer), ring.ErrClosed)
		p.Close()
	})
}

// within fails the test if f has not returned soon.
func within(t *testing.T, what string, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal(what + " does not return")
	}
}

// Everything but Wait may be called by anybody, and Wait, which sleeps for an hour, is woken
// where it has to know.
func TestPollerFromAnywhere(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		p := ring.NewPoller(ring.PollerConfig{FirstSleep: time.Hour})
		defer func() { within(t, "Close", p.Close) }()
		type handout struct {
			c   *ring.Consumer
			err error
		}
		handouts := make(chan handout)
		wait := func() {
			go func() {
				c, err := p.Wait(context.Background())
				handouts <- handout{c, err}
			}()
		}
		next := func() (h handout) {
			within(t, "Wait", func() { h = <-handouts })
			require.NoError(t, h.err)
			return h
		}
		small := layout.Config{Slots: 8, SlotSize: 64}
		asleep := newRig(small).consumer()
		require.NoError(t, p.Add(asleep.Consumer))
		wait()
		for asleep.Stats().Sleeps == 0 {
			runtime.Gosched()
		}
		within(t, "Len", func() { require.Equal(t, 1, p.Len()) })
		within(t, "Has", func() { require.True(t, p.Has(asleep.Consumer)) })
		within(t, "Blind", func() { require.NoError(t, p.Blind()) })

		full := newRig(small)
		c := full.consumer()
		require.NoError(t, full.producer().TrySend(nil))
		within(t, "Add", func() { require.NoError(t, p.Add(c.Consumer)) })
		require.Same(t, c.Consumer, next().c, "it had a message already")
		_, err := c.TryReceive(nil)
		require.NoError(t, err)

		empty := newRig(small)
		late, s := empty.consumer(), empty.producer()
		wait()
		within(t, "Add", func() { require.NoError(t, p.Add(late.Consumer)) })
		for late.Stats().Sleeps == 0 {
			runtime.Gosched()
		}
		require.NoError(t, s.TrySend(nil))
		require.Same(t, late.Consumer, next().c, "it got one")
		_, err = late.TryReceive(nil)
		require.NoError(t, err)

		wait()
		within(t, "Remove", func() { require.True(t, p.Remove(late.Consumer)) })
		require.Equal(t, 2, p.Len())
		require.NoError(t, s.TrySend(nil))
		_, err = late.Receive(soon(t), nil) // it is ours
		require.NoError(t, err)
		within(t, "Close", p.Close)
		within(t, "Wait", func() { require.ErrorIs(t, (<-handouts).err, ring.ErrClosed) })
	})
}

// A consumer that was taken out is not touched any more, whatever Wait is doing.
func TestPollerLetsGoOfWhatWasRemoved(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, spin := range []time.Duration{0, 20 * time.Microsecond, ring.SpinForever} {
			p := ring.NewPoller(ring.PollerConfig{SpinFor: spin, FirstSleep: time.Millisecond})
			var consumers []*consumer
			for range 3 {
				c := newRig(layout.Config{Slots: 8, SlotSize: 64}).consumer()
				consumers = append(consumers, c)
				require.NoError(t, p.Add(c.Consumer))
			}
			ended := make(chan error)
			go func() {
				_, err := p.Wait(soon(t))
				ended <- err
			}()
			rounds := 50
			if spin == 0 && !raceEnabled && !testing.Short() {
				rounds = 40000 // without the race detector it takes a collision
			}
			for range rounds {
				for _, c := range consumers[:2] {
					require.True(t, p.Remove(c.Consumer))
					_, err := c.TryReceive(nil)
					require.Equal(t, ring.ErrEmpty, err)
					require.NoError(t, p.Add(c.Consumer))
				}
			}
			p.Close()
			for _, c := range consumers {
				_, err := c.TryReceive(nil)
				require.Equal(t, ring.ErrEmpty, err)
			}
			require.ErrorIs(t, <-ended, ring.ErrClosed)
		}
	})
}

// Close has no part in the consumers' gates: their goroutine may be using them.
func TestPollerCloseBesideCallsOfItsConsumers(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		quiet, busy := newRig(layout.Config{Slots: 8, SlotSize: 64}), newRig(layout.Config{Slots: 8, SlotSize: 64})
		other, c, s := quiet.consumer(), busy.consumer(), busy.producer()
		for range 100 {
			p := ring.NewPoller(ring.PollerConfig{FirstSleep: time.Hour})
			require.NoError(t, p.Add(other.Consumer))
			require.NoError(t, p.Add(c.Consumer))
			slept := c.Stats().Sleeps + other.Stats().Sleeps
			wakesFor(t, p, c, s, func() bool { return c.Stats().Sleeps+other.Stats().Sleeps >= slept+2 })
			closed := make(chan any)
			go func() {
				defer func() { closed <- recover() }()
				p.Close()
			}()
			for open := true; open; {
				_, err := other.TryReceive(nil) // it is armed
				require.Equal(t, ring.ErrEmpty, err)
				select {
				case e := <-closed:
					require.Nil(t, e)
					open = false
				default:
				}
			}
		}
	})
}

// What a consumer calls may use the Poller that is waiting for it, but for Wait.
func TestPollerInItsCallbacks(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, dead := range []bool{true, false} {
			if !dead && testing.Short() {
				continue // a claim is stalled when it is a second old
			}
			p := ring.NewPoller(ring.PollerConfig{FirstSleep: time.Millisecond})
			another := newRig(layout.Config{Slots: 8, SlotSize: 64}).consumer()
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			var c *consumer
			called := 0
			call := func() {
				called++
				require.Equal(t, 1, p.Len())
				require.NoError(t, p.Blind())
				require.NoError(t, p.Add(another.Consumer))
				require.True(t, p.Remove(another.Consumer))
				require.True(t, p.Remove(c.Consumer))
				require.NoError(t, p.Add(c.Consumer))
				require.Panics(t, func() { _, _ = p.Wait(soon(t)) })
				p.Close()
			}
			if r.skip = func(ring.SkippedClaim) { call() }; !dead {
				r.stall = func(ring.StalledClaim) { call() }
			}
			c = r.consumer()
			require.NoError(t, p.Add(c.Consumer))
			s := r.producer()
			_, err := s.TryClaim(8)
			require.NoError(t, err)
			if dead {
				s.die()
			}
			within(t, "Wait", func() { _, err = p.Wait(soon(t)) })
			require.ErrorIs(t, err, ring.ErrClosed)
			require.Equal(t, 1, called)
		}
	})
}

// What blocking calls find by themselves a Poller finds too: ends, deaths, dead claims.
func TestPollerTellsNews(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		p := ring.NewPoller(ring.PollerConfig{FirstSleep: time.Millisecond})
		defer p.Close()
		ctx := soon(t)
		rigs := map[string]*rig{"end": nil, "death": nil, "claim": nil}
		names := map[*ring.Consumer]string{}
		for name := range rigs {
			r := newRig(layout.Config{Slots: 8, SlotSize: 64})
			rigs[name] = r
			c := r.consumer()
			names[c.Consumer] = name
			require.NoError(t, p.Add(c.Consumer))
		}
		var others sync.WaitGroup
		defer others.Wait() // what nobody waits for below happens too
		others.Go(func() {
			for name, r := range rigs {
				s := r.producer()
				switch name {
				case "end":
					if err := s.CloseSend(); err != nil {
						t.Error(err)
					}
				case "death":
					s.die()
				case "claim":
					if _, err := s.TryClaim(8); err != nil {
						t.Error(err)
					}
					s.die()
					if err := r.producer().TrySend([]byte("behind")); err != nil {
						t.Error(err)
					}
				}
			}
		})
		want := map[string]error{"end": nil, "claim": nil, "death": ring.ErrPeerDead}
		for len(want) > 0 {
			c, err := p.Wait(ctx)
			require.NoError(t, err)
			n, err := c.TryReceive(make([]byte, 8))
			if err == ring.ErrEmpty {
				continue // a claim that was passed over is no news
			}
			switch names[c] {
			case "end":
				require.Equal(t, "EOF", err.Error())
			case "death":
				require.ErrorIs(t, err, ring.ErrPeerDead)
			case "claim":
				if err != nil {
					require.ErrorIs(t, err, ring.ErrPeerDead, "the first one's")
					continue
				}
				require.NoError(t, err)
				require.Equal(t, 6, n)
			}
			delete(want, names[c])
		}
	})
}

// Without a lot nobody can wake the Poller: it looks by itself.
// rather is soon for tests that mutants let run out.
func rather(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// A user that takes one message each time that a consumer is handed out is told how streams
// ended whose ends were ahead when the consumer looked, and that all are over.
func TestPollerTellsWhatWasAhead(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, expected := range []int{0, 2} {
			r := newRig(layout.Config{Slots: 64, SlotSize: 64})
			r.expected = expected
			for _, dies := range []bool{true, false} {
				s := r.producer()
				for range 3 {
					require.NoError(t, s.TrySend([]byte("a")))
				}
				if dies {
					s.die()
				} else {
					require.NoError(t, s.CloseSend())
					s.leave()
				}
			}
			p := newPoller(t, 0)
			require.NoError(t, p.Add(r.consumer().Consumer))
			var got []string
			for ctx, over := rather(t), false; !over; {
				c, err := p.Wait(ctx)
				require.NoError(t, err, "told %v", got)
				switch _, err = c.TryReceive(make([]byte, 8)); {
				case err == nil:
					got = append(got, "a")
				case errors.Is(err, ring.ErrPeerDead):
					got = append(got, "died")
				case err == io.EOF:
					over = true
				case err != ring.ErrEmpty:
					require.NoError(t, err)
				}
			}
			require.Equal(t, []string{"a", "a", "a", "died", "a", "a", "a"}, got)
			// Nothing is left to say: it is not handed out for nothing again and again.
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			idle := 0
			for c, err := p.Wait(ctx); err == nil; c, err = p.Wait(ctx) {
				_, err = c.TryReceive(nil)
				require.Equal(t, ring.ErrEmpty, err)
				idle++
			}
			require.LessOrEqual(t, idle, 2)
		}
	})
}

// Two fates at one place that was ahead are told one by one.
func TestPollerTellsTwoThatWereAhead(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64})
		s := r.producer()
		require.NoError(t, s.TrySend([]byte("a")))
		s.die()
		r.producer().die()
		r.producer().die()
		c := r.consumer()
		require.NoError(t, errorButDead(c.Check()))
		p := newPoller(t, 0)
		require.NoError(t, p.Add(c.Consumer))
		for ctx, deaths := rather(t), 0; deaths < 3; {
			c, err := p.Wait(ctx)
			require.NoError(t, err, "told of %d deaths", deaths)
			if _, err = c.TryReceive(make([]byte, 8)); errors.Is(err, ring.ErrPeerDead) {
				deaths++
			}
		}
	})
}

func TestBlindPoller(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		_, v, cfg := r.process()
		cfg.ParkingLot = nil
		c, err := ring.NewConsumer(v, cfg)
		require.NoError(t, err)
		p := newPoller(t, 0)
		require.NoError(t, p.Add(c))
		require.Error(t, p.Blind())
		s := r.producer()
		for range 20 {
			sent := make(chan error)
			go func() { sent <- s.TrySend(nil) }()
			_, err := p.Wait(soon(t))
			require.NoError(t, err)
			_, err = c.TryReceive(nil)
			require.NoError(t, err)
			require.NoError(t, <-sent)
		}
		require.True(t, p.Remove(c))
		require.False(t, p.Remove(c))
		require.NoError(t, p.Blind())
	})
}
