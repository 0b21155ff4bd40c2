package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// meet plays a stream: after each look that finds nothing, gathered records come, at once
// or later. It returns how many pauses there were.
func (h *backoff) meet(times int, pos *uint64, atOnce bool, gathered func(paused bool) uint64) (pauses int) {
	for range times {
		paused := h.ranDry(*pos)
		if paused {
			pauses++
		}
		h.came(atOnce)
		*pos += gathered(paused)
	}
	return pauses
}

func TestBackoff(t *testing.T) {
	one := func(bool) uint64 { return 1 }
	many := func(paused bool) uint64 {
		if paused {
			return 20
		}
		return 1
	}
	pos := ^uint64(0) - 100 // positions wrap
	t.Run("a stream gathers", func(t *testing.T) {
		var h backoff
		require.Zero(t, h.meet(backoffAfter, &pos, true, many))
		require.Equal(t, 1000, h.meet(1000, &pos, true, many))
	})
	t.Run("a stream that slows down is followed closely", func(t *testing.T) {
		var h backoff
		h.meet(backoffAfter+1, &pos, true, many)
		require.Equal(t, 1, h.meet(1, &pos, false, many))
		require.Zero(t, h.meet(backoffAfter, &pos, true, many))
	})
	t.Run("it grows while many gather", func(t *testing.T) {
		var h backoff
		h.meet(backoffAfter+1, &pos, true, many)
		require.Equal(t, backoffFor, h.pauses)
		h.meet(1, &pos, true, many)
		require.Equal(t, backoffFor, h.pauses, "20 are not many")
		crowds := func(paused bool) uint64 { return backoffMany }
		h.meet(2, &pos, true, crowds)
		require.Equal(t, 2*backoffFor, h.pauses)
		h.meet(10, &pos, true, crowds)
		require.Equal(t, backoffMost, h.pauses)
		h.meet(2, &pos, true, one)
		require.Less(t, h.score, 0, "nothing gathered")
		h.meet(1, &pos, false, one)
		require.Equal(t, backoffFor, h.pauses)
	})
	t.Run("replies are kept waiting once in thousands", func(t *testing.T) {
		var h backoff
		require.Zero(t, h.meet(10_000, &pos, false, one))
		pauses := h.meet(100_000, &pos, true, one)
		require.InDelta(t, 100_000/(backoffAfter-backoffAgain), pauses, 2)
	})
}
