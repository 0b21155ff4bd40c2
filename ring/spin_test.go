package ring

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Probes that bring nothing become seldom; one spin that pays, and they are as often as before.
func TestProbesBecomeSeldom(t *testing.T) {
	const most = 20 * time.Microsecond
	for _, waking := range []time.Duration{0, napping} {
		var a adaptive
		a.start(waking)
		for a.score.Load() >= adaptiveEnough {
			budget, probe := a.budget(most)
			require.Equal(t, most, budget)
			require.False(t, probe)
			a.learn(false)
		}
		gap := func() (waits int) {
			for {
				waits++
				budget, probe := a.budget(most)
				if probe {
					require.Equal(t, max(probeFactor*most, waking), budget)
					a.learn(false)
					return waits
				}
				require.Equal(t, most/momentShare, budget)
				a.learn(false)
			}
		}
		for _, want := range []int{16, 32, 64, 128, 256, 256} {
			require.Equal(t, want, gap())
		}
		a.resume()
		budget, probe := a.budget(most)
		require.Equal(t, most, budget, "after a probe that paid")
		require.False(t, probe)
		a.learn(true)
		for a.score.Load() >= adaptiveEnough {
			a.learn(false)
		}
		require.Equal(t, 16, gap())
	}
}
