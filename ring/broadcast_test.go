package ring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// broadcastRing makes one of so many slots of 64 bytes, in which a message may have most bytes.
func broadcastRing(t testing.TB, slots, most int) (v *layout.View, attach func() *Producer) {
	cfg := layout.Config{
		Kind: layout.Broadcast, Slots: slots, SlotSize: 64, MaxMessage: most, Participants: 2, Doorbell: layout.Poll,
	}
	size, err := cfg.Size()
	require.NoError(t, err)
	seg := shm.Heap(int(size))
	v, err = layout.Format(seg.Bytes(), cfg)
	require.NoError(t, err)
	return v, func() *Producer {
		other, err := seg.Reopen()
		require.NoError(t, err)
		p, err := NewProducer(v, Config{Locks: other})
		require.NoError(t, err)
		t.Cleanup(func() { _ = other.Close() })
		return p
	}
}

// numbered is a message that says its number, and is that long if that is enough.
func numbered(n uint64, size int) []byte {
	m := make([]byte, max(size, 12))
	for i := range m {
		m[i] = byte(n)
	}
	binary.NativeEndian.PutUint64(m[4:], n)
	binary.NativeEndian.PutUint32(m, crc32.ChecksumIEEE(m[4:]))
	return m
}

// follow reads on from a waypoint, and finds that messages are numbered as it says.
func follow(t *testing.T, v *layout.View, from layout.Waypoint) (next uint64) {
	var s segment
	s.init(v)
	next = from.Messages
	for pos, w := range s.area.records(from.Position, s.load) {
		if w&layout.RecordSkip != 0 {
			continue
		}
		m := s.body(pos, w.Length())
		require.Equal(t, next, binary.NativeEndian.Uint64(m[4:]), "at %d", pos)
		require.Equal(t, crc32.ChecksumIEEE(m[4:]), binary.NativeEndian.Uint32(m))
		next++
	}
	return next
}

// sendSome sends messages from that number on, each 48 bytes long at most, by one of the ways there are, and
// returns how many.
func sendSome(t *testing.T, p *Producer, rng *rand.Rand, from uint64) uint64 {
	switch rng.IntN(5) {
	case 0:
		require.NoError(t, p.SendKind(t.Context(), numbered(from, rng.IntN(49)), 7))
	case 1:
		var batch [][]byte
		for range rng.IntN(9) {
			batch = append(batch, numbered(from+uint64(len(batch)), rng.IntN(49)))
		}
		n, err := p.SendBatch(t.Context(), batch)
		require.NoError(t, err)
		return uint64(n)
	case 2:
		c, err := p.TryClaim(48)
		require.NoError(t, err)
		copy(c.Bytes(), bytes.Repeat([]byte{0xff}, 48))
		if rng.IntN(2) == 0 {
			c.Abort()
			return 0
		}
		m := numbered(from, rng.IntN(49))
		c.Copy(m)
		c.Shorten(len(m))
		require.NoError(t, c.Commit())
	default:
		require.NoError(t, p.Send(t.Context(), numbered(from, 20)))
	}
	return 1
}

// The producer never meets a full ring, and what is there can be followed from each waypoint, with the
// number that it says, by whoever comes and also by a producer that takes over.
func TestBroadcastOverwrites(t *testing.T) {
	for _, slots := range []int{8, 16, 64, 512} {
		v, attach := broadcastRing(t, slots, 48)
		var s segment
		s.init(v)
		rng := rand.New(rand.NewPCG(1, uint64(slots)))
		p := attach()
		var sent uint64
		for round := range 2000 {
			sent += sendSome(t, p, rng, sent)
			if round%50 == 49 { // it dies, or leaves
				if rng.IntN(2) == 0 {
					p.Close()
					require.Equal(t, sent, v.Participants[1].Counters[layout.Messages].Load())
				}
				require.NoError(t, p.cfg.Locks.(*shm.Segment).Close())
				p = attach()
			}
			newest, ok := s.newestWaypoint()
			require.True(t, ok)
			require.Equal(t, sent, follow(t, v, newest))
			for i := range v.Kept {
				if round%20 != 0 {
					break
				}
				if w, ok := loadKept(&v.Kept[i]); ok && s.isWhole(w.Position) {
					require.Equal(t, sent, follow(t, v, w))
				}
			}
			oldest, ok := s.oldestKept(0)
			require.True(t, ok)
			require.Equal(t, sent, follow(t, v, oldest))
			q, err := LookAtQueue(v, 1<<20)
			require.NoError(t, err)
			require.Equal(t, sent, q.Sent)
			require.True(t, q.SentKnown)
			require.Equal(t, sent-oldest.Messages, q.Messages)
			require.True(t, q.Exact)
		}
		require.NoError(t, p.CloseSend())
		require.Equal(t, sent, v.Participants[1].Counters[layout.Messages].Load())
		require.Greater(t, s.hot.Written.Load(), 3*s.size, "laps")
	}
}

// While a waypoint is being written the one before it stays, whoever has left that: who is killed then leaves it.
func TestBroadcastKeepsAWaypoint(t *testing.T) {
	v, attach := broadcastRing(t, 64, 48)
	for n := range uint64(100) {
		p := attach()
		for range 1 + n%3 {
			was := v.Hot.Waypoints
			require.NoError(t, p.TrySend(numbered(n, 20)))
			require.NoError(t, p.mark())
			require.Equal(t, was.Turn+1, v.Hot.Waypoints.Turn)
			require.Equal(t, was.Places[was.Turn&1], v.Hot.Waypoints.Places[was.Turn&1])
		}
		require.NoError(t, p.cfg.Locks.(*shm.Segment).Close())
	}
}

// The longest messages: the newest is whole also while the next one is written, wherever it lies.
func TestBroadcastKeepsTheNewest(t *testing.T) {
	for _, most := range []int{0, 1, 48, 49, 512, 1000, 4096} {
		v, attach := broadcastRing(t, 64, most)
		var s segment
		s.init(v)
		p := attach()
		rng := rand.New(rand.NewPCG(2, uint64(most)))
		for range 2000 {
			before := p.pos
			m := make([]byte, most)
			if rng.IntN(3) == 0 {
				m = m[:rng.IntN(most+1)]
			}
			require.NoError(t, p.TrySend(m))
			at := before
			if w := s.load(at); w&layout.RecordSkip != 0 {
				at = w.Next(at)
			}
			c, err := p.TryClaim(most)
			require.NoError(t, err)
			require.True(t, s.isWhole(at), "%d bytes at %d, and %d are written", len(m), at, s.hot.Written.Load())
			w := s.load(at)
			require.EqualValues(t, len(m), w.Length())
			newest, ok := s.newestWaypoint()
			require.True(t, ok)
			require.True(t, s.isWhole(newest.Position))
			c.Abort()
		}
		require.ErrorIs(t, p.TrySend(make([]byte, most+1)), ErrTooLarge)
	}
}

// Observers beside a producer that runs as fast as it can: each message is got whole and in order, or counted
// as missed, whether they are slow or quick.
func TestBroadcastObserved(t *testing.T) {
	for _, slots := range []int{8, 64, 4096} {
		const most = 40
		v, attach := broadcastRing(t, slots, most)
		const count = 300_000
		done := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				o := NewObserver(v, nil)
				if err := o.Begin(Start{From: StartOldest}, func() error { return nil }); err != nil {
					t.Error(err)
					return
				}
				var next, begun uint64
				for over := false; ; {
					m, moved, err := o.Try()
					switch {
					case err == ErrEmpty && over && !moved:
						if next != count {
							t.Errorf("%d messages got and missed, %d sent", next, count)
						}
						s := o.Stats()
						if s.Messages+s.Missed != count-begun || s.Inexact || i == 0 && slots == 64 && s.Messages == 0 {
							t.Errorf("%+v", s)
						}
						t.Logf("%d slots: %+v", slots, s)
						return
					case err == ErrEmpty:
						select {
						case <-done:
							over = true
						default:
							runtime.Gosched()
						}
						continue
					case err != nil:
						t.Error(err)
						return
					}
					if next == 0 { // it may have begun late
						begun = m.Sequence - 1 - m.Missed
						next = begun
					}
					next += m.Missed
					n := binary.NativeEndian.Uint64(m.Bytes[4:])
					if n != next || m.Sequence != n+1 || crc32.ChecksumIEEE(m.Bytes[4:]) != binary.NativeEndian.Uint32(m.Bytes) {
						t.Errorf("message %d, %d expected, %d missed: sequence %d", n, next, m.Missed, m.Sequence)
						return
					}
					next++
					if i == 2 && n%64 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		p := attach()
		for n := range uint64(count) {
			if err := p.Send(t.Context(), numbered(n, 12+int(n*7%(most-12)))); err != nil {
				t.Error(err)
				break
			}
		}
		close(done)
		wg.Wait()
	}
}

// Where an observer may begin.
func TestBroadcastBegins(t *testing.T) {
	v, attach := broadcastRing(t, 1024, 100)
	p := attach()
	begin := func(s Start) (*Observer, error) {
		o := NewObserver(v, nil)
		return o, o.Begin(s, func() error { return nil })
	}
	at := map[uint64]Position{}
	for n := range uint64(20_000) {
		at[n] = Position{Record: p.pos}
		require.NoError(t, p.TrySend(numbered(n, 20)))
	}
	get := func(o *Observer) Observation {
		t.Helper()
		m, _, err := o.Try()
		require.NoError(t, err)
		require.Equal(t, m.Sequence-1, binary.NativeEndian.Uint64(m.Bytes[4:]))
		return m
	}
	o, err := begin(Start{From: StartNow})
	require.NoError(t, err)
	_, _, err = o.Try()
	require.ErrorIs(t, err, ErrEmpty)

	o, err = begin(Start{From: StartOldest})
	require.NoError(t, err)
	oldest := get(o)
	require.Zero(t, oldest.Missed)
	kept := 20_000 - oldest.Sequence
	require.Greater(t, kept*32, uint64(v.Config.Area())*13/16, "what is ahead, and a part or so, may be gone")

	for n := oldest.Sequence; n < 20_000; n += 97 {
		o, err = begin(Start{From: StartAt, Position: at[n]})
		require.NoError(t, err)
		m := get(o)
		require.Equal(t, n+1, m.Sequence)
		require.Zero(t, m.Missed)
	}
	o, err = begin(Start{From: StartAfter, Position: at[5], Sequence: 6})
	require.NoError(t, err)
	m := get(o)
	require.Equal(t, m.Sequence, 6+m.Missed+1, "exact")
	o, err = begin(Start{From: StartAt, Position: at[5]})
	require.NoError(t, err)
	require.EqualValues(t, 1, get(o).Missed)
	require.True(t, o.Stats().Inexact)
	_, err = begin(Start{From: StartAt, Position: Position{Record: at[19_000].Record + 8}})
	require.ErrorIs(t, err, ErrNoMessage)
}

// The newest message, for whom the others do not matter.
func TestBroadcastLatest(t *testing.T) {
	for _, slots := range []int{8, 1024} {
		v, attach := broadcastRing(t, slots, 48)
		p := attach()
		begin := func(from StartKind) *Observer {
			o := NewObserver(v, nil)
			require.NoError(t, o.Begin(Start{From: from}, func() error { return nil }))
			return o
		}
		_, _, err := begin(StartNewest).TryLatest()
		require.ErrorIs(t, err, ErrEmpty)
		first, always := begin(StartNow), begin(StartNewest)
		rng := rand.New(rand.NewPCG(1, 1))
		var sent, got uint64
		for range 3000 {
			for range 1 + rng.IntN(3)*rng.IntN(40) {
				require.NoError(t, p.TrySend(numbered(sent, rng.IntN(49))))
				sent++
			}
			m, _, err := always.TryLatest()
			require.NoError(t, err)
			require.Equal(t, sent, m.Sequence)
			require.Equal(t, sent-1, binary.NativeEndian.Uint64(m.Bytes[4:]))
			require.Equal(t, sent-1-got, m.Missed)
			got = sent
			_, _, err = always.TryLatest()
			require.ErrorIs(t, err, ErrEmpty)
			switch rng.IntN(20) {
			case 0: // by Next, and some are held
				require.NoError(t, p.TrySend(numbered(sent, 12)))
				require.NoError(t, p.TrySend(numbered(sent+1, 12)))
				m, _, err := always.Try()
				require.NoError(t, err)
				require.Equal(t, sent+1, m.Sequence)
				m, _, err = always.TryLatest()
				require.NoError(t, err)
				require.Equal(t, sent+2, m.Sequence)
				require.Zero(t, m.Missed)
				sent, got = sent+2, sent+2
			case 1: // what was there before somebody came
				if rng.IntN(2) == 0 {
					p.Close()
					require.NoError(t, p.cfg.Locks.(*shm.Segment).Close())
					p = attach()
				}
				m, _, err := begin(StartNewest).Try()
				require.NoError(t, err)
				require.Equal(t, sent, m.Sequence)
				require.Zero(t, m.Missed)
			}
		}
		p.Close() // which leaves a waypoint behind the newest
		m, _, err := first.TryLatest()
		require.NoError(t, err)
		require.Equal(t, sent, m.Sequence)
		require.Equal(t, sent-1, m.Missed)
		s := always.Stats()
		require.Equal(t, sent, s.Messages+s.Missed)
	}
}

// someWord is one of those that a peer may write to which it has no right, and perhaps it is written already.
func someWord(rng *rand.Rand, v *layout.View, p *Producer) (at *uint64) {
	switch rng.IntN(6) {
	case 0:
		return &v.Hot.Waypoints.Turn
	case 1:
		return &v.Hot.Waypoints.Places[rng.IntN(2)].Position
	case 2:
		return &v.Hot.Waypoints.Places[rng.IntN(2)].Messages
	case 3:
		k := &v.Kept[rng.IntN(len(v.Kept))]
		k.Position = p.pos - uint64(rng.IntN(int(2*p.size)))
		k.Messages = rng.Uint64()
		k.Check = k.Position + 1
		return &k.Messages
	case 4:
		v.Hot.ReadPos.Store(p.pos + uint64(rng.IntN(int(2*p.size))) - p.size)
		v.Hot.Written.Store(p.pos + uint64(rng.IntN(int(2*p.size))) - p.size)
	}
	return p.word(uint64(rng.IntN(int(p.size))) &^ 7)
}

// Whatever is in the words: nobody panics, and every call comes back.
func TestBroadcastHostile(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	nothing := func() error { return nil }
	var refused, found int
	for range 3000 {
		v, attach := broadcastRing(t, 8<<rng.IntN(4), 48)
		p := attach()
		o := NewObserver(v, nil)
		require.NoError(t, o.Begin(Start{From: StartOldest}, nothing))
		for range rng.IntN(200) {
			require.NoError(t, p.Send(t.Context(), make([]byte, rng.IntN(49))))
		}
		for range 1 + rng.IntN(3) {
			at := someWord(rng, v, p)
			*at = []uint64{0, rng.Uint64(), *at + 8, *at ^ 1<<rng.IntN(64), p.pos + uint64(rng.IntN(4096))}[rng.IntN(5)]
		}
		for _, from := range []StartKind{StartNow, StartOldest, StartNewest, StartAt, StartAfter} {
			err := NewObserver(v, nil).Begin(Start{from, Position{Record: p.pos - uint64(rng.IntN(1024))&^7}, 3}, nothing)
			if err != nil {
				refused++
			}
		}
		for range 300 {
			take := o.Try
			if rng.IntN(2) == 0 {
				take = o.TryLatest
			}
			if m, _, err := take(); err == nil {
				found++
				require.LessOrEqual(t, len(m.Bytes), 48)
			}
		}
		_, _ = LookAtQueue(v, 1<<20)
		for range 20 {
			if err := p.TrySend(make([]byte, rng.IntN(49))); err != nil && err != ErrContended {
				require.ErrorIs(t, err, ErrCorrupt)
			}
		}
		p.Close()
		require.NoError(t, p.cfg.Locks.(*shm.Segment).Close())
		if q, err := NewProducer(v, Config{Locks: shm.Heap(4096)}); err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
		} else {
			for range 20 {
				_ = q.TrySend(make([]byte, rng.IntN(49)))
			}
		}
	}
	require.NotZero(t, refused)
	require.NotZero(t, found)
}

// What no correct peer writes.
func TestBroadcastLies(t *testing.T) {
	v, attach := broadcastRing(t, 64, 600)
	_, err := NewConsumer(v, Config{Locks: shm.Heap(4096)})
	require.ErrorIs(t, err, ErrBroadcast)
	p := attach()
	v.Hot.DataBell.Store(layout.BellEach | layout.BellFences | layout.BellSleeping) // nobody can mean that
	for range 100 {
		require.NoError(t, p.TrySend(numbered(1, 100)))
		require.EqualValues(t, layout.RecordAlign-1, p.align)
		require.Equal(t, plainStores, p.plain)
	}
	require.EqualValues(t, layout.BellEach|layout.BellFences|layout.BellSleeping, v.Hot.DataBell.Load())
	corrupt := func(what string, err error) {
		t.Helper()
		var bad *CorruptError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, what, bad.Field)
	}
	// A word of a record that its producer has written is another one when it counts.
	*p.word(p.newest.Position) = 0
	corrupt("word of a record", func() error {
		for range 1000 {
			if err := p.TrySend(numbered(1, 100)); err != nil && !errors.Is(err, ErrContended) {
				return err
			}
		}
		return nil
	}())
	require.ErrorIs(t, p.TrySend(nil), ErrCorrupt)
	p.Close()

	// Of the waypoints none is one, or it is elsewhere.
	v, attach = broadcastRing(t, 64, 600)
	p = attach()
	for range 100 {
		require.NoError(t, p.TrySend(numbered(1, 100)))
	}
	require.NoError(t, p.cfg.Locks.(*shm.Segment).Close())
	good := v.Hot.Waypoints
	again := func() error {
		_, err := NewProducer(v, Config{Locks: shm.Heap(4096)})
		return err
	}
	for _, at := range []uint64{p.pos + 8, p.newest.Position + 1, 1 << 63} {
		for i := range v.Hot.Waypoints.Places {
			v.Hot.Waypoints.Places[i].Position = at
		}
		corrupt("waypoint", again())
	}
	_, err = LookAtQueue(v, 1<<20)
	require.NoError(t, err, "as far as one can see")
	v.Hot.Waypoints = good
	require.NoError(t, again())
}
