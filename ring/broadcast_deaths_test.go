//go:build killpoint

package ring

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/shm"
)

// lastStore ends a call behind a store, as a death does.
type lastStore struct{}

// The producer of a broadcast ring dies behind any store, also of attaching, again and again: what its calls
// had returned for is there, at most one call more, and all waypoints say the numbers that messages have.
func TestBroadcastDeathsMidway(t *testing.T) {
	left := math.MaxInt
	killpoint.Hook = func(killpoint.Point) {
		if left--; left == 0 {
			panic(lastStore{})
		}
	}
	t.Cleanup(func() { killpoint.Hook = nil })
	for _, slots := range []int{8, 16, 64} {
		v, _ := broadcastRing(t, slots, 48)
		var s segment
		s.init(v)
		rng := rand.New(rand.NewPCG(3, uint64(slots)))
		seg := shm.Heap(4096)
		var sent uint64
		for range 800 {
			life, err := seg.Reopen()
			require.NoError(t, err)
			func() {
				defer func() {
					if x := recover(); x != nil && x != any(lastStore{}) {
						panic(x)
					}
					left = math.MaxInt
				}()
				left = 1 + rng.IntN(120)
				p, err := NewProducer(v, Config{Locks: life})
				require.NoError(t, err)
				require.Equal(t, sent, p.newest.Messages, "what its successor counts")
				for {
					sent += sendSome(t, p, rng, sent)
				}
			}()
			require.NoError(t, life.Close())
			newest, ok := s.newestWaypoint()
			require.True(t, ok)
			require.True(t, s.isWhole(newest.Position))
			there := follow(t, v, newest)
			require.True(t, there >= sent && there <= sent+8, "%d are there, of %d", there, sent)
			sent = there
			oldest, ok := s.oldestKept(0)
			require.True(t, ok)
			require.Equal(t, sent, follow(t, v, oldest))
			for i := range v.Kept {
				if w, ok := loadKept(&v.Kept[i]); ok && s.isWhole(w.Position) {
					require.Equal(t, sent, follow(t, v, w))
				}
			}
			q, err := LookAtQueue(v, 1<<20)
			require.NoError(t, err)
			require.Equal(t, sent, q.Sent)
		}
		require.Greater(t, s.hot.Written.Load(), 3*s.size)
	}
}
