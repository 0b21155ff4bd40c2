package ring

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// observe returns what an observer sees that begins with the oldest that is not released.
func observe(v *layout.View, only ...uint16) (list []Observation, err error) {
	o := NewObserver(v, only)
	if err := o.Begin(Start{From: StartOldest}, func() error { return nil }); err != nil {
		return nil, err
	}
	for {
		m, _, err := o.Try()
		if err == ErrEmpty {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		m.Bytes = append([]byte{}, m.Bytes...)
		list = append(list, m)
	}
}

func (o *Observer) copied(pos, n uint64) []byte {
	o.memory = nil
	return o.copy(o.recordWords(pos, n))
}

// As soon as anything of a record is overwritten, it is not whole, whoever writes.
func TestObservedInBetween(t *testing.T) {
	v, p, c := pair(t, layout.SPSC, 8)
	buf := make([]byte, 512)
	var s Observer
	s.init(v)
	for range 100 {
		require.NoError(t, p.TrySend(buf[:300]))
		pos := v.Hot.ReadPos.Load()
		require.True(t, s.isWhole(pos))
		_, err := c.TryReceive(buf)
		require.NoError(t, err)
		_, err = c.TryReceive(buf)
		require.ErrorIs(t, err, ErrEmpty)
		size, before := uint64(len(v.Area)), s.copied(pos, 300)
		for p.pos-pos < size {
			require.NoError(t, p.TrySend(buf[:100]))
			require.True(t, p.pos+layout.RecordHeader-pos <= size || !s.isWhole(pos))
			if s.isWhole(pos) {
				require.Equal(t, before, s.copied(pos, 300))
			}
			_, err := c.TryReceive(buf)
			require.NoError(t, err)
			_, err = c.TryReceive(buf)
			require.ErrorIs(t, err, ErrEmpty)
		}
	}
}

// What a dead producer has said that it may have overwritten stays so when another goes on, and what
// lies is not believed.
func TestWrittenOfTheDead(t *testing.T) {
	for _, test := range []struct{ written, want uint64 }{
		{400, 400}, {1024, 1024}, {1032, 0}, {1 << 63, 0}, {^uint64(0), 0},
	} {
		cfg := layout.Config{Kind: layout.SPSC, Slots: 8, SlotSize: 64, Participants: 2, Doorbell: layout.Futex}
		cfg.MaxMessage = cfg.Capacity()
		size, err := cfg.Size()
		require.NoError(t, err)
		seg := shm.Heap(int(size))
		v, err := layout.Format(seg.Bytes(), cfg)
		require.NoError(t, err)
		v.Hot.Written.Store(test.written)
		p, err := NewProducer(v, Config{Locks: seg})
		require.NoError(t, err)
		require.Equal(t, test.want, p.written, "%d", test.written)
		require.NoError(t, p.TrySend(make([]byte, 10)))
		if test.want != 0 {
			require.GreaterOrEqual(t, v.Hot.Written.Load(), test.want)
		}
		require.GreaterOrEqual(t, v.Hot.Written.Load(), p.pos+layout.RecordHeader)
		require.LessOrEqual(t, v.Hot.Written.Load(), uint64(len(v.Area)))
	}
}

// A producer that was in the middle of waking the consumer when that fell asleep again rings for it
// with its next message.
func TestQuietRingsAgain(t *testing.T) {
	v, p, _ := pair(t, layout.SPSC, 8)
	require.NoError(t, p.TrySend(nil))
	for range 10 {
		v.Hot.DataBell.Or(layout.BellSleeper)
		p.heed(v.Hot.DataBell.Load() &^ layout.BellSleeping) // as if it was told, and looked then
		v.Hot.DataBell.Or(layout.BellSleeper)
		p.heed(v.Hot.DataBell.Load())
		v.Hot.DataBell.Or(layout.BellParked)
		require.NoError(t, p.TrySend([]byte("12345678")))
		require.Zero(t, v.Hot.DataBell.Load()&layout.BellSleeping)
	}
	// Asleep by the second look: the word that is remembered says that nobody is.
	p.quiet = v.Hot.DataBell.Load()
	v.Hot.DataBell.Or(layout.BellSleeper)
	p.notifyBell = sleepsAgain{v}
	require.NoError(t, p.TrySend([]byte("12345678")))
	require.NotZero(t, v.Hot.DataBell.Load()&layout.BellSleeping)
	p.notifyBell = nil
	require.NoError(t, p.TrySend([]byte("12345678")))
	require.Zero(t, v.Hot.DataBell.Load()&layout.BellSleeping, "it sleeps on, and nobody rings")
}

// sleepsAgain is the bell of a consumer that goes back to sleep as soon as it is woken.
type sleepsAgain struct{ v *layout.View }

func (s sleepsAgain) Sleep(uint32, time.Duration, []*atomic.Uint32) (bool, error) { return false, nil }

func (s sleepsAgain) Stop(*atomic.Uint32) {}

func (s sleepsAgain) Wake(uint32) { s.v.Hot.DataBell.Or(layout.BellSleeper) }

// A waypoint is whole at each moment: the newest stays while the next is being written.
func TestWaypointsAreWritten(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		v, p, c := pair(t, kind, 8)
		w := &v.Hot.Waypoints
		for range 20 {
			turn, newest := w.Turn, w.Places[v.Hot.Waypoints.Turn&1]
			require.NoError(t, p.TrySend([]byte("12345678")))
			m, err := c.TryNext()
			require.NoError(t, err)
			m.Release()
			require.NoError(t, c.Check())
			require.Greater(t, w.Turn, turn)
			require.Equal(t, newest.Messages+1, w.Places[w.Turn&1].Messages)
			require.Greater(t, w.Places[w.Turn&1].Position, newest.Position)
			if w.Turn == turn+1 {
				require.Equal(t, newest, w.Places[turn&1], "what was whole stays")
			}
		}
	}
}

// Words by which an observer would be overtaken for ever are corruption, and so are those by which it
// would go back.
func TestObserversAreNotLedOn(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		for name, lie := range map[string]func(v *layout.View){
			"written": func(v *layout.View) {
				v.Hot.ReadPos.Store(8)
				v.Hot.Written.Store(1 << 40)
				v.Hot.Tail.Store(layout.PackTail(1<<40, 1, 1))
			},
			"a waypoint far ahead": func(v *layout.View) {
				v.Hot.Written.Store(1100)
				v.Hot.ReadPos.Store(100 &^ 7)
				v.Hot.Tail.Store(layout.PackTail(101, 1, 1))
				v.Hot.Waypoints.Places[v.Hot.Waypoints.Turn&1].Position = 1 << 50
			},
			"a waypoint behind": func(v *layout.View) {
				v.Hot.Written.Store(1 << 12)
				v.Hot.ReadPos.Store(1 << 12)
				v.Hot.Tail.Store(layout.PackTail(1<<12, 1, 1))
				v.Hot.Waypoints.Places[v.Hot.Waypoints.Turn&1].Position = 1<<12 + 1<<40
			},
		} {
			v, p, c := pair(t, kind, 8)
			o := NewObserver(v, nil)
			require.NoError(t, o.Begin(Start{}, func() error { return nil }))
			require.NoError(t, p.TrySend(nil))
			_, err := c.TryReceive(nil)
			require.NoError(t, err)
			require.NoError(t, c.Check())
			lie(v)
			for range 2 {
				for err = nil; err == nil; {
					_, _, err = o.Try()
				}
				require.ErrorIs(t, err, ErrCorrupt, "%v: %s", kind, name)
			}
		}
	}
}

// Where a consumer leaves no waypoints messages have no numbers, and what is missed is not all counted;
// the next that does counts on.
func TestUnnumbered(t *testing.T) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		v, p, c := pair(t, kind, 8)
		follower := NewObserver(v, nil)
		require.NoError(t, follower.Begin(Start{}, func() error { return nil }))
		for range 100 {
			require.NoError(t, p.TrySend([]byte("12345678")))
			_, err := c.TryReceive(make([]byte, 8))
			require.NoError(t, err)
		}
		require.NoError(t, c.Check())
		v.Hot.Waypoints = layout.Waypoints{} // as an older one leaves it
		require.NoError(t, p.TrySend([]byte("12345678")))
		list, err := observe(v)
		require.NoError(t, err)
		require.NotEmpty(t, list)
		require.Zero(t, list[0].Sequence)
		m, _, err := follower.Try()
		require.NoError(t, err)
		require.Zero(t, m.Sequence)
		require.NotZero(t, m.Missed)
		require.True(t, follower.Stats().Inexact)
		for range 2 {
			require.NoError(t, c.Check())
			c.way.messages = c.messagesBefore(v.Hot.ReadPos.Load())
			require.GreaterOrEqual(t, c.way.messages, uint64(100))
		}
	}
}
