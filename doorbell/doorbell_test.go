package doorbell_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

const long = 20 * time.Second // no test waits for it; a lost wake-up does

// conformance runs a test on every kind of bell, with the word in one mapping for
// one side and in another for the other.
func conformance(t *testing.T, f func(t *testing.T, mine, theirs doorbell.Bell, word, other *atomic.Uint32)) {
	for _, kind := range []layout.Doorbell{layout.Futex, layout.Spin} {
		t.Run(kind.String(), func(t *testing.T) {
			cfg := layout.Config{Kind: layout.SPSC, Slots: 8, Participants: 2, Doorbell: kind}
			size, err := cfg.Size()
			require.NoError(t, err)
			seg, err := shm.Create(t.Context(), "bell", size, &shm.Options{Dir: t.TempDir()}, func(mem []byte, _ shm.Locks) error {
				_, err := layout.Format(mem, cfg)
				return err
			})
			require.NoError(t, err)
			t.Cleanup(func() { seg.Close() })
			again, err := seg.Reopen()
			require.NoError(t, err)
			t.Cleanup(func() { again.Close() })
			v, err := layout.Parse(seg.Bytes())
			require.NoError(t, err)
			w, err := layout.Parse(again.Bytes())
			require.NoError(t, err)
			mine, err := doorbell.New(kind, doorbell.Site{Word: &v.Hot.DataBell})
			require.NoError(t, err)
			theirs, err := doorbell.New(kind, doorbell.Site{Word: &w.Hot.DataBell})
			require.NoError(t, err)
			require.Equal(t, kind, mine.Kind())
			f(t, mine, theirs, &v.Hot.DataBell, &w.Hot.DataBell)
		})
	}
}

func TestSleepComparesFirst(t *testing.T) {
	conformance(t, func(t *testing.T, mine, _ doorbell.Bell, word, _ *atomic.Uint32) {
		word.Store(3)
		timedOut, err := mine.Sleep(1, long, nil)
		require.NoError(t, err)
		require.False(t, timedOut)
	})
}

func TestSleepIsBounded(t *testing.T) {
	conformance(t, func(t *testing.T, mine, _ doorbell.Bell, word, _ *atomic.Uint32) {
		for _, limit := range []time.Duration{-1, 0, time.Millisecond, 15 * time.Millisecond} {
			begin := time.Now()
			timedOut, err := mine.Sleep(0, limit, []*atomic.Uint32{new(atomic.Uint32)})
			require.NoError(t, err)
			require.True(t, timedOut)
			require.GreaterOrEqual(t, time.Since(begin), limit)
		}
	})
}

// Several sleepers, one wake: all get up.
func TestWakeWakesAll(t *testing.T) {
	conformance(t, func(t *testing.T, mine, theirs doorbell.Bell, word, other *atomic.Uint32) {
		for round := range uint32(200) {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for word.Load() == round {
						if timedOut, err := mine.Sleep(round, long, nil); timedOut || err != nil {
							t.Errorf("timed out %v, %v", timedOut, err)
							return
						}
					}
				})
			}
			if round%2 == 0 {
				runtime.Gosched()
			}
			other.Store(round + 1)
			theirs.Wake(round)
			wg.Wait()
		}
	})
}

func TestStopEndsSleep(t *testing.T) {
	conformance(t, func(t *testing.T, mine, _ doorbell.Bell, word, _ *atomic.Uint32) {
		for range 500 {
			stop := new(atomic.Uint32)
			go mine.Stop(stop)
			for stop.Load() == 0 {
				timedOut, err := mine.Sleep(0, long, []*atomic.Uint32{stop})
				require.NoError(t, err)
				require.False(t, timedOut)
			}
			timedOut, err := mine.Sleep(0, long, []*atomic.Uint32{stop})
			require.NoError(t, err)
			require.False(t, timedOut, "it stays stopped")
		}
	})
}

func TestUnknownKinds(t *testing.T) {
	for _, kind := range []layout.Doorbell{0, layout.SysV, layout.Flock, 99} {
		_, err := doorbell.New(kind, doorbell.Site{Word: new(atomic.Uint32)})
		require.ErrorIs(t, err, doorbell.ErrUnavailable)
	}
	kind, err := doorbell.Probe()
	require.NoError(t, err)
	require.Equal(t, layout.Futex, kind)
}
