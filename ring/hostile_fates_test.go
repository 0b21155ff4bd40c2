package ring_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// A peer that ends one stream after the other, and faster than they are told, keeps no call: one
// that does not wait says that there is nothing, and one that waits asks its context. Behind all
// that comes what was sent.
func TestStreamsThatEndWithoutEnd(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p := r.producer()
		forge, told := true, 0
		var m *layout.Participant
		r.streamEnd = func(e ring.StreamEnd) {
			if told++; told > 1<<20 {
				panic("it does not end")
			}
			if forge {
				m.Fates[0].Fate.Store(layout.FateWord(0).With(e.Epoch+1, layout.FateLeft))
				m.Epoch.Store(e.Epoch + 1)
				p.view.Hot.News.Add(1)
			}
		}
		c := r.consumer()
		m = &c.view.Participants[1]
		begin := func() {
			m.Fates[0].Fate.Store(layout.FateWord(0).With(m.Epoch.Load(), layout.FateLeft))
			p.view.Hot.News.Add(1)
		}
		begin()
		_, err := c.TryReceive(nil)
		require.Equal(t, ring.ErrEmpty, err)
		over, cancel := context.WithDeadline(t.Context(), time.Now())
		defer cancel()
		_, err = c.Receive(over, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = c.Drain(over, 0, func(ring.Message) error { return nil })
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, c.Check())
		require.Less(t, told, 1<<16)

		require.NoError(t, p.TrySend([]byte("a"))) // the first of its stream: what was before comes first
		_, err = c.TryReceive(nil)
		require.Equal(t, ring.ErrEmpty, err)
		forge = false
		n, err := c.TryReceive(make([]byte, 8))
		require.NoError(t, err)
		require.Equal(t, 1, n)
	})
}

// Nor do streams that end while a message is held take memory without end.
func TestStreamsThatEndWhileAMessageIsHeld(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 8, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		require.NoError(t, p.TrySend(make([]byte, 8)))
		_, err := c.TryNext()
		require.NoError(t, err)
		m := &c.view.Participants[1]
		m.Fates[0].Pos.Store(c.view.Hot.ReadPos.Load() + 1) // behind it
		var corrupt *ring.CorruptError
		calls := 0
		for ; corrupt == nil && calls < 1<<20; calls++ {
			m.Epoch.Add(1)
			m.Fates[0].Fate.Store(layout.FateWord(0).With(m.Epoch.Load(), layout.FateDied))
			c.view.Hot.News.Add(1)
			_, err = c.TryReceive(nil)
			errors.As(err, &corrupt)
		}
		require.NotNil(t, corrupt)
		require.Greater(t, calls, 1<<16, "as many as there may be of processes")
	})
}
