package ring

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// What waits is shown, in order, and nothing that an older lap has left.
func TestObserve(t *testing.T) {
	v, p, c := pair(t, layout.SPSC, 8)
	buf := make([]byte, 512)
	seen := func(most int) (list []string, at []uint64) {
		overtaken, err := Observe(v, most, func(o Observation) bool {
			list, at = append(list, string(o.Bytes)), append(at, o.Position.Record)
			require.EqualValues(t, 3, o.Kind)
			return len(list) < 4
		})
		require.NoError(t, err)
		require.Zero(t, overtaken)
		return list, at
	}
	for round := range 200 {
		want := []string{"a", "bb", string(make([]byte, 100+round)), "", "more than it wants"}
		for _, s := range want {
			require.NoError(t, p.TrySendKind([]byte(s), 3))
		}
		list, at := seen(1 << 20)
		require.Equal(t, want[:4], list)
		list, _ = seen(2)
		require.Equal(t, want[:2], list, "enough")
		for i := range want {
			m, err := c.TryNext()
			require.NoError(t, err)
			if i < len(at) {
				require.Equal(t, at[i], m.Position().Record)
			}
			m.Release()
		}
		_, err := c.TryReceive(buf)
		require.ErrorIs(t, err, ErrEmpty)
		list, _ = seen(1 << 20)
		require.Empty(t, list)
	}
	p.publish(p.pos, 1<<63|77<<56)
	_, err := Observe(v, 1, func(Observation) bool { return true })
	require.ErrorIs(t, err, ErrCorrupt)
}

// What is observed beside a stream is whole, or not shown.
func TestObserveAStream(t *testing.T) {
	v, p, c := pair(t, layout.SPSC, 64)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	ended := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(1, 2))
		msg := make([]byte, 600)
		for n := uint64(0); !ended(); n++ {
			m := msg[:12+rng.IntN(588)]
			for i := range m {
				m[i] = byte(n)
			}
			binary.NativeEndian.PutUint64(m[4:], n)
			binary.NativeEndian.PutUint32(m, crc32.ChecksumIEEE(m[4:]))
			for p.TrySend(m) == ErrFull && !ended() {
			}
		}
	})
	wg.Go(func() {
		buf := make([]byte, 600)
		for !ended() {
			_, _ = c.TryReceive(buf)
		}
	})
	var shown, overtaken int
	for end := time.Now().Add(20 * time.Second); (shown < 2000 || overtaken < 20) && time.Now().Before(end); {
		n, err := Observe(v, 2000, func(o Observation) bool {
			require.Equal(t, crc32.ChecksumIEEE(o.Bytes[4:]), binary.NativeEndian.Uint32(o.Bytes), "torn")
			shown++
			return true
		})
		require.NoError(t, err)
		overtaken += n
	}
	close(stop)
	wg.Wait()
	t.Logf("%d messages shown, overtaken %d times", shown, overtaken)
	require.Greater(t, shown, 100)
}

// As soon as anything of a record is overwritten, it is not whole, whoever writes.
func TestObservedInBetween(t *testing.T) {
	v, p, c := pair(t, layout.SPSC, 8)
	buf := make([]byte, 512)
	var s segment
	s.init(v)
	for range 100 {
		require.NoError(t, p.TrySend(buf[:300]))
		pos := v.Hot.ReadPos.Load()
		require.True(t, s.isWhole(pos))
		_, err := c.TryReceive(buf)
		require.NoError(t, err)
		_, err = c.TryReceive(buf)
		require.ErrorIs(t, err, ErrEmpty)
		size, before := uint64(len(v.Area)), append([]byte{}, s.copyOut(nil, pos, 300)...)
		for p.pos-pos < size {
			require.NoError(t, p.TrySend(buf[:100]))
			require.True(t, p.pos+layout.RecordHeader-pos <= size || !s.isWhole(pos))
			if s.isWhole(pos) {
				require.Equal(t, before, s.copyOut(nil, pos, 300))
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
