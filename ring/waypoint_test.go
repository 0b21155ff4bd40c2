package ring_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// counted sends messages that say which they are, receives them in all ways, and dies.
type counted struct {
	t    *testing.T
	r    *rig
	rng  *rand.Rand
	p    *producer
	c    *consumer
	sent uint64
	held []ring.Message

	before uint64 // ReadPos at the look before
}

func (w *counted) next(n uint64) []byte {
	m := make([]byte, 8+w.rng.IntN(120))
	binary.LittleEndian.PutUint64(m, n)
	return m
}

func (w *counted) send() {
	switch w.rng.IntN(4) {
	case 0:
		var batch [][]byte
		for k := range 1 + w.rng.IntN(12) {
			batch = append(batch, w.next(w.sent+1+uint64(k)))
		}
		n, _ := w.p.TrySendBatch(batch)
		w.sent += uint64(n)
	case 1:
		c, err := w.p.TryClaim(128)
		if err != nil {
			return
		}
		if w.rng.IntN(2) == 0 {
			c.Abort()
			return
		}
		binary.LittleEndian.PutUint64(c.Bytes(), w.sent+1)
		require.NoError(w.t, c.Commit())
		w.sent++
	default:
		if w.p.TrySend(w.next(w.sent+1)) == nil {
			w.sent++
		}
	}
}

func (w *counted) receive() {
	var err error
	switch w.rng.IntN(5) {
	case 0:
		_, err = w.c.TryReceive(make([]byte, 128))
	case 1:
		var m ring.Message
		if m, err = w.c.TryNext(); err == nil {
			w.held = append(w.held, m)
		}
	case 2:
		if len(w.held) > 0 {
			k := w.rng.IntN(len(w.held))
			w.held[k].Release()
			w.held = w.held[k+1:]
		}
	case 3:
		stop := errors.New("stop")
		_, err = w.c.TryDrain(1+w.rng.IntN(20), func(ring.Message) error {
			if w.rng.IntN(20) == 0 {
				return stop
			}
			return nil
		})
		if err == stop {
			err = nil
		}
	case 4:
		v := w.c.View()
		for range w.rng.IntN(10) {
			if !v.Next() && !v.Wait(context.Context(nil)) {
				err = v.Err()
				break
			}
		}
		if w.rng.IntN(2) == 0 {
			v.Release()
		}
	}
	if err != nil && err != ring.ErrEmpty {
		require.ErrorIs(w.t, err, ring.ErrPeerDead)
	}
}

func (w *counted) restart() {
	w.held = nil
	switch w.rng.IntN(4) {
	case 0:
		w.p.die()
		w.p = w.r.producer()
	case 1:
		w.p.leave()
		w.p = w.r.producer()
	case 2:
		w.c.die()
	case 3:
		w.c.leave()
	}
	w.r.once = w.rng.IntN(3) == 0
	if w.c.seg != nil {
		w.c.die()
	}
	w.c = w.r.consumer()
}

// oldest looks at all that an observer finds: consecutive numbers, and those of the messages.
func (w *counted) oldest() {
	o := ring.NewObserver(w.c.view, nil)
	require.NoError(w.t, o.Begin(ring.Start{From: ring.StartOldest}, func() error { return nil }))
	last := uint64(0)
	for {
		m, _, err := o.Try()
		if err != nil {
			require.Equal(w.t, ring.ErrEmpty, err)
			break
		}
		require.Equal(w.t, binary.LittleEndian.Uint64(m.Bytes), m.Sequence)
		require.True(w.t, last == 0 || m.Sequence == last+1)
		require.Zero(w.t, m.Missed)
		last = m.Sequence
	}
	require.True(w.t, last == 0 || last == w.sent)
	w.look()
}

// look asks how many messages were sent, also in the eyes of somebody who comes behind a consumer that was killed
// before it had stored ReadPos.
func (w *counted) look() {
	ask := func() ring.Queue {
		q, err := ring.LookAtQueue(w.c.view, 1<<20)
		require.NoError(w.t, err)
		require.True(w.t, q.Exact)
		require.Equal(w.t, w.sent, q.Sent)
		require.True(w.t, q.SentKnown)
		return q
	}
	q := ask()
	read, stored := &w.c.view.Hot.ReadPos, q.ReadPos
	if back := w.before; back != stored && q.End-back < q.Lap/2 { // what is between them is still there
		read.Store(back)
		ask()
		read.Store(stored)
	}
	w.before = stored
	if q, err := ring.LookAtQueue(w.c.view, 1); err == nil && q.Limited {
		require.False(w.t, q.SentKnown)
		require.LessOrEqual(w.t, q.Sent, w.sent)
	}
}

// Whoever consumes in which way, and dies: what observers are told is the number of each message.
func TestWaypointsAreExact(t *testing.T) {
	each(t, func(t *testing.T, r func(layout.Config) *rig) {
		for seed := range uint64(6) {
			w := &counted{t: t, rng: rand.New(rand.NewPCG(seed, 7))}
			w.r = r(layout.Config{Slots: 64, SlotSize: 64, MaxMessage: 128})
			w.p, w.c = w.r.producer(), w.r.consumer()
			_, v, _ := w.r.process()
			follower := ring.NewObserver(v, nil)
			require.NoError(t, follower.Begin(ring.Start{}, func() error { return nil }))
			followed := uint64(0)
			for range 3000 {
				switch w.rng.IntN(100) {
				case 0:
					w.restart()
				case 1, 2, 3, 4:
					w.oldest()
				case 5, 6:
					for {
						m, _, err := follower.Try()
						if err != nil {
							require.Equal(t, ring.ErrEmpty, err)
							break
						}
						require.Equal(t, followed+m.Missed+1, m.Sequence)
						require.Equal(t, m.Sequence, binary.LittleEndian.Uint64(m.Bytes))
						followed = m.Sequence
					}
					s := follower.Stats()
					require.Equal(t, w.sent, s.Messages+s.Missed)
				default:
					if w.rng.IntN(2) == 0 {
						w.send()
					} else {
						w.receive()
					}
				}
			}
			s := follower.Stats()
			require.False(t, s.Inexact)
			require.NotZero(t, s.Missed)
		}
	})
}
