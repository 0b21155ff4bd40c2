package ring

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
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
