package ring_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// A stream of batches that are written in place, and of single messages, read by a View.
func TestViewAndBatch(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		ctx := soon(t)
		const messages = 20000
		sent := make(chan error, 1)
		go func() {
			sent <- func() error {
				for seq := uint64(0); seq < messages; {
					if seq%3 == 0 {
						if err := p.Send(ctx, stamped(1, seq, int(seq%100))); err != nil {
							return err
						}
						seq++
						continue
					}
					b, err := p.ClaimBatch(ctx, 1000)
					if err != nil {
						return err
					}
					for ; seq < messages; seq++ {
						msg := stamped(1, seq, int(seq%100))
						room := b.Append(len(msg))
						if room == nil {
							break
						}
						copy(room, msg)
					}
					if err := b.Commit(); err != nil {
						return err
					}
				}
				return p.CloseSend()
			}()
		}()
		v := c.View()
		seq := uint64(0)
		for ; v.Next() || v.Wait(ctx); seq++ {
			id, got := unstamp(t, v.Bytes())
			require.EqualValues(t, 1, id)
			require.Equal(t, seq, got)
			if seq%1000 == 999 {
				v.Release()
			}
		}
		require.ErrorIs(t, v.Err(), io.EOF)
		require.NoError(t, <-sent)
		require.EqualValues(t, messages, seq)
		require.EqualValues(t, messages, c.Stats().Messages)
		require.Zero(t, c.Used())
	})
}

// Whoever closes the consumer takes away what the View has looked at and not handed out, and it
// comes to the next consumer with the one that may be in work.
func TestViewOfAClosedConsumer(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64})
		p, c := r.producer(), r.consumer()
		for i := range 10 {
			require.NoError(t, p.TrySend([]byte{byte(i)}))
		}
		v := c.View()
		require.True(t, v.Wait(soon(t)))
		for range 3 {
			require.True(t, v.Next() || v.Wait(soon(t)))
		}
		require.Equal(t, []byte{3}, v.Bytes())
		c.leave()
		require.False(t, v.Next())
		require.False(t, v.Wait(soon(t)))
		require.ErrorIs(t, v.Err(), ring.ErrClosed)
		next := r.consumer()
		v = next.View()
		for i := byte(3); i < 10; i++ {
			require.True(t, v.Next() || v.Wait(soon(t)))
			m := v.Message()
			require.Equal(t, []byte{i}, m.Bytes())
			if i != 4 { // which Next may have been at when the other was closed
				require.Equal(t, i == 3, m.Redelivered(), "message %d", i)
			}
		}
		require.False(t, v.Next())
		require.False(t, v.Wait(context.Context(nil)))
		require.ErrorIs(t, v.Err(), ring.ErrEmpty)
	})
}

// A View goes on while another goroutine closes the consumer: it hands out what was sent, or ends.
func TestViewWhileClosing(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		for range 30 {
			r := newRig(layout.Config{Slots: 64, SlotSize: 64})
			p, c := r.producer(), r.consumer()
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						if err := p.TrySend([]byte{1, 2, 3, 4}); err != nil && !errors.Is(err, ring.ErrFull) {
							return
						}
					}
				}
			}()
			v, n := c.View(), 0
			ctx := soon(t)
			closed := make(chan struct{})
			for v.Next() || v.Wait(ctx) {
				require.Len(t, v.Bytes(), 4)
				if n++; n == 100 {
					go func() { c.Close(); close(closed) }()
				}
			}
			require.ErrorIs(t, v.Err(), ring.ErrClosed)
			<-closed
			close(stop)
			<-done
		}
	})
}

func TestBatchRefuses(t *testing.T) {
	each(t, func(t *testing.T, newRig func(layout.Config) *rig) {
		r := newRig(layout.Config{Slots: 64, SlotSize: 64, MaxMessage: 100})
		p, c := r.producer(), r.consumer()
		require.Panics(t, func() { p.TryClaimBatch(7) })
		_, err := p.TryClaimBatch(p.MaxBatch() + 1)
		require.ErrorIs(t, err, ring.ErrTooLarge)
		b, err := p.TryClaimBatch(p.MaxBatch())
		require.NoError(t, err)
		require.Panics(t, func() { b.Append(-1) })
		require.Panics(t, func() { b.Append(101) })
		n := 0
		for ; b.Append(100) != nil; n++ {
			require.Equal(t, p.MaxBatch()-(n+1)*112, b.Room())
		}
		require.Equal(t, p.MaxBatch()/112, n)
		b.Abort()
		require.NoError(t, b.Commit(), "after Abort it does nothing")
		require.Panics(t, func() { b.Append(1) })
		_, err = c.TryNext()
		require.ErrorIs(t, err, ring.ErrEmpty)
		empty, err := p.TryClaimBatch(8)
		require.NoError(t, err)
		require.NoError(t, empty.Commit())
		_, err = c.TryNext()
		require.ErrorIs(t, err, ring.ErrEmpty)
		require.NoError(t, p.TrySend(nil))
		_, err = c.TryNext()
		require.NoError(t, err)
	})
}
