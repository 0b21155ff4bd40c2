package ring_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

func fill(t *testing.T, p *producer) {
	for {
		err := p.TrySend(nil)
		if err == ring.ErrFull {
			return
		}
		require.NoError(t, err)
	}
}

// A producer that needs many slots gets them, though others would take each as it comes: they
// hold back. Here without an end: on a busy machine their patience may be over before the other
// one has got a processor, and then they take what there is, as often as they are quicker.
func TestTurn(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		c, small, large, other := r.consumer(), r.producer(), r.producer(), r.producer()
		small.HoldBackFor(time.Hour)
		other.HoldBackFor(time.Hour)
		fill(t, small)
		sent := make(chan error, 1)
		go func() { sent <- large.Send(soon(t), make([]byte, 8*64)) }()
		turn := &r.producers[0].view.Hot.Priority
		for turn.Load() == 0 {
			runtime.Gosched()
		}
		require.EqualValues(t, 8, turn.Load().Slots())
		require.EqualValues(t, large.Attachment().Index, turn.Load().Owner())
		blocked := make(chan error, 1)
		go func() { blocked <- other.Send(soon(t), []byte("behind it")) }()
		for other.Stats().Sleeps == 0 {
			runtime.Gosched()
		}
		buf := make([]byte, 1024)
		// The small one takes every slot as it comes free, but for those that are kept.
		overtaken := 0
		for large := 0; large == 0; overtaken++ {
			require.LessOrEqual(t, overtaken, 3*16)
			for small.TrySend(nil) == nil {
			}
			n, err := c.Receive(soon(t), buf)
			require.NoError(t, err)
			if n == 8*64 {
				large = n
			}
		}
		require.NoError(t, <-sent)
		for behind := 0; behind == 0; {
			n, err := c.Receive(soon(t), buf)
			require.NoError(t, err)
			behind = n
		}
		require.NoError(t, <-blocked)
		require.Zero(t, turn.Load(), "it was given back")
	})
}

// Nobody is held up for long by a turn whose owner is stopped, dead, or an invention.
func TestTurnOfTheDead(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, dead := range []layout.Priority{layout.PackPriority(1, 4, 2), layout.PackPriority(1, 4095, 2),
			layout.PackPriority(1, 0, 0)} {
			r := newRig(layout.Config{Slots: 16, SlotSize: 64})
			c, p := r.consumer(), r.producer()
			fill(t, p)
			p.view.Hot.Priority.Store(dead)
			sent := make(chan error, 1)
			go func() { sent <- p.Send(soon(t), nil) }()
			for range 16 {
				_, err := c.TryReceive(nil)
				require.NoError(t, err)
			}
			_, err := c.TryReceive(nil)
			require.Equal(t, ring.ErrEmpty, err)
			for deadline := time.Now().Add(20 * time.Second); p.TrySend(nil) != nil; runtime.Gosched() {
				require.True(t, time.Now().Before(deadline))
			}
			require.NoError(t, <-sent)
			require.Zero(t, p.view.Hot.Priority.Load())
		}
	})
}

// However long the sleeps of those who hold back may be, a dead owner does not hold them up.
func TestPriorityOfTheDeadAmongSleepers(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		r.cap = time.Hour
		c := r.consumer()
		sent := make(chan error)
		var all []*producer
		for range 3 {
			p := r.producer()
			all = append(all, p)
			fill(t, p)
			go func() { sent <- p.Send(soon(t), nil) }()
		}
		for _, p := range all {
			for p.Stats().Sleeps == 0 {
				runtime.Gosched()
			}
		}
		all[0].view.Hot.Priority.Store(layout.PackPriority(1, 4, 9))
		for range 16 {
			_, err := c.TryReceive(nil)
			require.NoError(t, err)
		}
		_, err := c.TryReceive(nil) // gives back the last, and rings
		require.Equal(t, ring.ErrEmpty, err)
		for range all {
			require.NoError(t, <-sent)
		}
		require.Zero(t, all[0].view.Hot.Priority.Load())
		for _, p := range all {
			require.Zero(t, p.Stats().TimeoutWakeups, "it ran out by design")
		}
	})
}

// Whoever gives up gives the turn back.
func TestTurnIsGivenBack(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 16, SlotSize: 64})
		p := r.producer()
		fill(t, p)
		for _, give := range []func(ctx context.Context) error{
			func(ctx context.Context) error { return p.Send(ctx, nil) },
			func(ctx context.Context) error { _, err := p.SendBatch(ctx, [][]byte{{1}, {2}}); return err },
			func(ctx context.Context) error { _, err := p.Claim(ctx, 1); return err },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- give(ctx) }()
			for p.view.Hot.Priority.Load() == 0 {
				runtime.Gosched()
			}
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
			require.Zero(t, p.view.Hot.Priority.Load())
		}
	})
}

// keeping is a ring of 16 slots whose consumer has taken 12 messages, released all but the last,
// and keeps that one. A producer knows nothing of the release.
func keeping(t *testing.T, newRig func(layout.Config) *rig) (*rig, *consumer, *producer) {
	r := newRig(layout.Config{Slots: 16, SlotSize: 64})
	c, small := r.consumer(), r.producer()
	for range 12 {
		require.NoError(t, small.TrySend([]byte("x")))
	}
	for range 11 {
		_, err := c.TryReceive(make([]byte, 8))
		require.NoError(t, err)
	}
	_, err := c.TryNext()
	require.NoError(t, err)
	for range 4 {
		require.NoError(t, small.TrySend([]byte("x")), "room that it knows of")
	}
	return r, c, small
}

// A priority claim to which no room comes holds nobody up, whether its owner is dead or alive.
func TestPriorityThatCannotBeServed(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		for _, dead := range []bool{true, false} {
			r, c, small := keeping(t, newRig)
			large := r.producer()
			ctx, cancel := context.WithCancel(soon(t))
			ended := make(chan error, 1)
			go func() { ended <- large.Send(ctx, make([]byte, 16*64)) }()
			word := &small.view.Hot.Priority
			for word.Load() == 0 {
				runtime.Gosched()
			}
			if dead { // it is not there to give it back, nor to ask again
				was := word.Load()
				cancel()
				require.ErrorIs(t, <-ended, context.Canceled)
				word.Store(was)
			}
			for i := range 5 {
				sendSmall(t, small, i%2 == 0)
				_, err := c.TryNext()
				require.NoError(t, err)
			}
			if dead {
				require.Zero(t, word.Load(), "it was taken away")
			}
			if cancel(); !dead {
				require.ErrorIs(t, <-ended, context.Canceled)
			}
		}
	})
}

// Whoever writes priority claims all the time starves nobody: patience is that of the call.
func TestPriorityRewritten(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		_, c, small := keeping(t, newRig)
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for nonce := uint64(1); ctx.Err() == nil; nonce++ {
				small.view.Hot.Priority.Store(layout.PackPriority(nonce, 16, 9))
				<-tick.C
			}
		}()
		defer func() { stop(); <-stopped }()
		for small.view.Hot.Priority.Load() == 0 {
			runtime.Gosched()
		}
		for i := range 64 {
			sendSmall(t, small, i/16%2 == 0) // the room that it knows of is used up every 11 to 16 messages
			m, err := c.TryNext()
			require.NoError(t, err)
			m.Release()
		}
	})
}

// sendSmall sends a small message, waiting in the call or by trying again and again.
func sendSmall(t *testing.T, small *producer, waits bool) {
	t.Helper()
	if waits {
		require.NoError(t, small.Send(soon(t), []byte("x")))
		return
	}
	for deadline := time.Now().Add(20 * time.Second); small.TrySend([]byte("x")) != nil; runtime.Gosched() {
		require.True(t, time.Now().Before(deadline))
	}
}

// From whom priority was taken away because no room came asks for it ever more seldom.
func TestPriorityIsAskedForEverMoreSeldom(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, newRig func(layout.Config) *rig) {
		r, _, small := keeping(t, newRig)
		large := r.producer()
		ctx, cancel := context.WithTimeout(soon(t), 400*time.Millisecond)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- large.Send(ctx, make([]byte, 16*64)) }()
		asked := 0
		for over := false; !over; runtime.Gosched() {
			if word := &small.view.Hot.Priority; word.Load() != 0 {
				word.Store(0)
				asked++
			}
			select {
			case err := <-ended:
				require.ErrorIs(t, err, context.DeadlineExceeded)
				over = true
			default:
			}
		}
		require.Positive(t, asked)
		require.LessOrEqual(t, asked, 8, "after 5 ms, and then after twice the time each")
	})
}
