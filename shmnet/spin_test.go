package shmnet

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inTurn has each of some spinners wait, so long after the one before, and tells which of them found
// themselves to be one of many at last.
func inTurn(n int, pause time.Duration) (oneOf []bool) {
	spinners := make([]spinner, n)
	for i := range spinners {
		spinners[i].start(false)
	}
	processors.Store(2)
	now := time.Hour
	oneOf = make([]bool, n)
	for range 10 {
		for i := range spinners {
			now += pause
			spinners[i].takesTurns(now)
			oneOf[i] = spinners[i].oneOf
		}
	}
	return oneOf
}

// Who waits alone, or with as few others as leave a processor, spins; so does one of many that seldom wait.
func TestOneOfMany(t *testing.T) {
	const soon, late = 10 * time.Microsecond, time.Millisecond
	require.Equal(t, []bool{false}, inTurn(1, soon))
	require.Equal(t, []bool{false, false}, inTurn(2, soon))
	require.Equal(t, []bool{true, true, true}, inTurn(3, soon))
	require.Equal(t, []bool{false, false, false}, inTurn(3, late))
}

// One of many looks a few times and does not spin, and does once more when it is alone.
func TestOneOfManySleepsSoon(t *testing.T) {
	var one, other spinner
	one.start(false)
	other.start(false)
	looks := 0
	spin := func() {
		looks = 0
		busyUntil.Store(0)
		require.False(t, one.spin(func() bool { looks++; return false }))
	}
	one.oneOf, one.at = true, time.Since(began)
	for range 10_000 { // enough for a second
		other.takesTurns(time.Since(began))
	}
	spin()
	require.Equal(t, glance, looks)
	require.True(t, one.oneOf)
	spin()
	require.False(t, one.oneOf)
	spin()
	require.Greater(t, looks, moment)
}

// What is found after others had the processor, for as short or long as it was, is no reason to go on looking.
func TestFoundAfterOthersRan(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for _, work := range []time.Duration{4 * busy, 4 * preempted} {
		for tries := 0; ; tries++ {
			var s spinner
			s.start(false)
			busyUntil.Store(0)
			looks := 0
			var came atomic.Bool
			found := s.spin(func() bool {
				if looks++; looks == moment+1 {
					go func() {
						for begin := time.Now(); time.Since(begin) < work; {
						}
						came.Store(true)
					}()
				}
				return came.Load()
			})
			if found {
				require.Less(t, s.score, int32(scoreMax))
				break
			}
			require.Less(t, tries, 1000) // the system kept it from looking for longer than it looks
			for looks > moment && !came.Load() {
				runtime.Gosched()
			}
		}
	}
}
