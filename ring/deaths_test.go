//go:build killpoint

package ring_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// death ends a call at a kill point, and with it the handle.
type death struct{}

// mortals is an SPSC ring whose producers and consumers die after any store, and are replaced.
type mortals struct {
	*rig
	rng  *rand.Rand
	p    *producer
	c    *consumer
	left int // kill points until somebody dies

	next    uint64 // the next number to be sent
	sure    uint64 // numbers before it were sent: the calls have returned
	want    uint64 // the next number that nobody was given
	handled uint64 // numbers before it were given back by a consumer that lived to do so
	deaths  int
}

func (w *mortals) at(killpoint.Point) {
	if w.left--; w.left == 0 {
		panic(death{})
	}
}

// dies tells whether somebody died in f.
func (w *mortals) dies(f func()) (died bool) {
	defer func() {
		w.left = math.MaxInt
		if x := recover(); x != nil {
			if _, died = x.(death); !died {
				panic(x)
			}
			w.deaths++
		}
	}()
	w.left = 1 + w.rng.IntN(60)
	f()
	return false
}

func (w *mortals) text(seq uint64) []byte {
	n := 8 + int(seq*2654435761%uint64(min(w.cfg.MaxMessage-8, 300)))
	b := message(1, seq, n)
	binary.LittleEndian.PutUint64(b, seq)
	return b
}

func (w *mortals) produce() {
	for range w.rng.IntN(30) {
		m := w.text(w.next)
		switch w.rng.IntN(4) {
		case 0, 1:
			if w.p.TrySend(m) == nil {
				w.next++
			}
		case 2:
			c, err := w.p.TryClaim(len(m) + w.rng.IntN(8))
			if err != nil {
				break
			}
			for i := range c.Bytes() { // what it writes there looks like words
				c.Bytes()[i] = 0x87
			}
			if w.rng.IntN(3) == 0 {
				c.Abort()
				break
			}
			copy(c.Bytes(), m)
			c.Shorten(len(m))
			if c.Commit() == nil {
				w.next++
			}
		case 3:
			var batch [][]byte
			for i := range 1 + w.rng.IntN(12) {
				batch = append(batch, w.text(w.next+uint64(i)))
			}
			n, _ := w.p.TrySendBatch(batch)
			w.next += uint64(n)
		}
		w.sure = w.next
	}
}

// newest looks what of a call was sent in which its producer died.
func (w *mortals) newest() {
	last := int64(-1)
	o := ring.NewObserver(w.p.view, nil)
	err := o.Begin(ring.Start{From: ring.StartOldest}, func() error { return nil })
	for err == nil {
		var m ring.Observation
		if m, _, err = o.Try(); err == nil {
			last = int64(binary.LittleEndian.Uint64(m.Bytes))
			require.True(w.t, bytes.Equal(m.Bytes, w.text(uint64(last))), "torn: %d", last)
		}
	}
	require.Equal(w.t, ring.ErrEmpty, err)
	if last >= 0 {
		require.GreaterOrEqual(w.t, uint64(last)+1, w.sure, "lost")
		w.next = max(w.next, uint64(last)+1)
	}
	w.sure = w.next
}

func (w *mortals) consume() {
	buf := make([]byte, w.cfg.MaxMessage)
	for range w.rng.IntN(40) {
		var err error
		switch w.rng.IntN(3) {
		case 0:
			var m ring.Message
			if m, err = w.c.TryNext(); err == nil {
				w.got(m.Bytes(), m.Redelivered())
				m.Release()
			}
		case 1:
			_, err = w.c.TryDrain(1+w.rng.IntN(20), func(m ring.Message) error {
				w.got(m.Bytes(), m.Redelivered())
				return nil
			})
		case 2:
			var n int
			if n, err = w.c.TryReceive(buf); err == nil {
				w.got(buf[:n], true) // it does not say
			}
		}
		if err == ring.ErrEmpty {
			w.handled = w.want // all is given back then
		} else if err != nil && !errors.Is(err, ring.ErrPeerDead) {
			require.NoError(w.t, err)
		}
	}
}

func (w *mortals) got(b []byte, again bool) {
	require.GreaterOrEqual(w.t, len(b), 8)
	seq := binary.LittleEndian.Uint64(b)
	require.Less(w.t, seq, uint64(1<<40))
	require.True(w.t, bytes.Equal(b, w.text(seq)), "torn: %d", seq)
	if seq == w.want {
		w.want++
		return
	}
	require.True(w.t, seq < w.want && again && seq >= w.handled, "got %d (again %v), want %d, handled %d", seq, again,
		w.want, w.handled)
}

// Whoever dies, after any of its stores: what was sent comes, whole and in order, and comes again
// only if it may have been seen and was not given back.
func TestMidwayDeaths(t *testing.T) {
	defer func() { killpoint.Hook = nil }()
	histories, deaths := uint64(4000), 0
	if testing.Short() || raceEnabled {
		histories = 400
	}
	for seed := range histories {
		rng := rand.New(rand.NewPCG(seed, 7))
		cfg := layout.Config{Kind: layout.SPSC, Slots: pick(rng, 8, 8, 64, 512), SlotSize: 64,
			Start: pick[uint64](rng, 0, 1<<32-64, 1<<64-256)}
		cfg.MaxMessage = pick(rng, 64, cfg.Capacity()/2)
		w := &mortals{rig: newRig(t, memories[0], cfg), rng: rng, left: math.MaxInt}
		killpoint.Hook = w.at
		w.p, w.c = w.producer(), w.consumer()
		for range 40 {
			if rng.IntN(4) == 0 {
				w.p.view.Hot.DataBell.Store(w.p.view.Hot.DataBell.Load() ^ layout.BellEach)
			}
			if w.dies(w.produce) {
				w.p.die()
				w.p = w.producer()
				w.newest()
			}
			if w.dies(w.consume) || rng.IntN(2) == 0 {
				w.c.die()
				w.c = w.consumer()
			}
		}
		for end := 0; end < 100; {
			err := error(nil)
			if _, err = w.c.TryDrain(0, func(m ring.Message) error {
				w.got(m.Bytes(), m.Redelivered())
				return nil
			}); err != nil {
				end++
			}
		}
		require.Equal(t, w.sure, w.want, "seed %d", seed)
		deaths += w.deaths
		w.p.die()
		w.c.die()
	}
	t.Logf("%d histories, %d deaths", histories, deaths)
	require.Greater(t, deaths, int(histories)*10)
}
