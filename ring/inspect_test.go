package ring_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Whatever stands in a segment behind its header, those who look on come to an end, stay inside it
// and say no more than there can be.
func TestOnlookersAtGarbage(t *testing.T) {
	var corrupt, whole int
	for seed := range uint64(4000) {
		rng := rand.New(rand.NewPCG(seed, 14))
		cfg := layout.Config{Kind: layout.SPSC + layout.Kind(seed&1), Slots: 8 << rng.IntN(3), SlotSize: 64 * rng.IntN(3),
			Participants: 2, Doorbell: layout.Futex}
		if cfg.Kind == layout.MPSC {
			cfg.Participants += rng.IntN(4)
		}
		cfg.MaxMessage = rng.IntN(cfg.Capacity() + 1)
		size, err := cfg.Size()
		require.NoError(t, err)
		mem := shm.Heap(int(size)).Bytes()
		v, err := layout.Format(mem, cfg)
		require.NoError(t, err)
		garble(rng, v)
		garbleBytes(rng, mem[layout.MinSize:])
		q, err := ring.LookAtQueue(v, 1000)
		if err != nil {
			_, ok := err.(*ring.CorruptError)
			require.True(t, ok, "%v", err)
			corrupt++
		} else {
			require.LessOrEqual(t, q.End-q.ReadPos, uint64(cfg.Slots), "seed %d", seed)
			whole++
		}
		require.True(t, q.Exact)
		require.LessOrEqual(t, q.Open, cfg.Slots)
		require.LessOrEqual(t, q.Redeliver, q.Messages)
		require.LessOrEqual(t, q.Bytes, uint64(len(mem)), "seed %d", seed)
		for i := range v.Participants {
			ring.LookAtParticipant(v, i)
		}
		require.Less(t, len(ring.UntoldFates(v)), 10000)
	}
	require.Greater(t, corrupt, 100)
	require.Greater(t, whole, 100)
}

// garble writes words that look like those of a ring.
func garble(rng *rand.Rand, v *layout.View) {
	read := uint64(rng.IntN(100))
	v.Hot.ReadPos.Store(read)
	v.Hot.Tail.Store(layout.PackTail(read+uint64(rng.IntN(len(v.Descriptors)+1)), uint64(rng.IntN(4)), uint8(rng.IntN(4))))
	shift := v.Config.Shift()
	for pos := read; pos < read+uint64(len(v.Descriptors)); pos++ {
		d := &v.Descriptors[pos%uint64(len(v.Descriptors))]
		state := layout.Committed
		if rng.IntN(4) == 0 {
			state = layout.State(rng.IntN(4))
		}
		d.Ctl.Store(layout.PackCtl(layout.LapOf(pos, shift), 1+uint64(rng.IntN(20)/18), 1, state))
		d.Meta = layout.PackMeta(uint32(rng.IntN(70)), 0, uint8(rng.IntN(8)/5)&layout.KnownFlags)
	}
}

// garbleBytes overwrites some words.
func garbleBytes(rng *rand.Rand, mem []byte) {
	for range rng.IntN(40) {
		at := rng.IntN(len(mem)/8) * 8
		binary.NativeEndian.PutUint64(mem[at:], rng.Uint64()>>rng.IntN(64))
	}
}

// A ring is counted only so far.
func TestOnlookersStopCounting(t *testing.T) {
	cfg := layout.Config{Kind: layout.SPSC, Slots: 16, MaxMessage: 40, Participants: 2, Doorbell: layout.Futex}
	size, err := cfg.Size()
	require.NoError(t, err)
	v, err := layout.Format(shm.Heap(int(size)).Bytes(), cfg)
	require.NoError(t, err)
	for i := range 5 {
		binary.NativeEndian.PutUint64(v.Area[i*16:], uint64(layout.PackRecord(1, 0, layout.RecordAlign)))
	}
	for limit, want := range map[int]uint64{3: 3, 5: 5, 6: 5} {
		q, err := ring.LookAtQueue(v, limit)
		require.NoError(t, err)
		require.Equal(t, want, q.Messages)
		require.Equal(t, want < 5 || limit == 5, q.Limited, limit)
	}
}

// onlookerRing is an MPSC ring of 16 slots.
func onlookerRing(t *testing.T) *layout.View {
	cfg := layout.Config{Kind: layout.MPSC, Slots: 16, Participants: 3, Doorbell: layout.Futex}
	size, err := cfg.Size()
	require.NoError(t, err)
	v, err := layout.Format(shm.Heap(int(size)).Bytes(), cfg)
	require.NoError(t, err)
	return v
}

// Of all claims only the newest may be in Tail alone.
func TestOnlookersKnowClaims(t *testing.T) {
	v := onlookerRing(t)
	v.Hot.Tail.Store(layout.PackTail(3, 2, 2))
	v.Descriptors[0].Ctl.Store(layout.PackCtl(1, 1, 1, layout.Claimed))
	q, err := ring.LookAtQueue(v, 100)
	require.NoError(t, err)
	want := []ring.OpenClaim{{Position: 0, Slots: 1, Owner: 1}, {Position: 1, Slots: 2, Owner: 2}}
	require.Equal(t, want, q.Claims)
	require.EqualValues(t, 3, q.End)
	v.Hot.Tail.Store(layout.PackTail(3, 1, 2))
	_, err = ring.LookAtQueue(v, 100)
	require.ErrorContains(t, err, "control word of a claim")
	v.Hot.Tail.Store(layout.PackTail(18, 2, 2))
	_, err = ring.LookAtQueue(v, 100)
	require.ErrorContains(t, err, "distance from ReadPos to Tail")
}

// What was found while slots were released proves nothing.
func TestOnlookersDoNotAccuseARingThatMoves(t *testing.T) {
	v := onlookerRing(t)
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				for range 100 {
					v.Hot.Tail.Store(layout.PackTail(v.Hot.ReadPos.Add(1)+3, 1, 1)) // nothing before is recorded
				}
			}
		}
	}()
	for inexact := 0; inexact < 100; {
		q, err := ring.LookAtQueue(v, 100)
		if !q.Exact {
			inexact++
			require.NoError(t, err)
		}
	}
	close(done)
	<-stopped
}
