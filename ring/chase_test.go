package ring

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// meet plays a stream: after each look that finds nothing, gathered records come, at once
// or later. It returns how many lulls there were.
func (h *chase) meet(times int, pos *uint64, atOnce bool, gathered func(lull bool) uint64) (lulls int) {
	for range times {
		lull := h.empty(*pos)
		if lull {
			lulls++
		}
		h.next(atOnce)
		*pos += gathered(lull)
	}
	return lulls
}

func TestChase(t *testing.T) {
	one := func(bool) uint64 { return 1 }
	many := func(lull bool) uint64 {
		if lull {
			return 20
		}
		return 1
	}
	pos := ^uint64(0) - 100 // positions wrap
	t.Run("a stream gathers", func(t *testing.T) {
		var h chase
		require.Zero(t, h.meet(chaseAfter, &pos, true, many))
		require.Equal(t, 1000, h.meet(1000, &pos, true, many))
	})
	t.Run("a stream that slows down is followed closely", func(t *testing.T) {
		var h chase
		h.meet(chaseAfter+1, &pos, true, many)
		require.Equal(t, 1, h.meet(1, &pos, false, many))
		require.Zero(t, h.meet(chaseAfter, &pos, true, many))
	})
	t.Run("replies are kept waiting once in thousands", func(t *testing.T) {
		var h chase
		require.Zero(t, h.meet(10_000, &pos, false, one))
		lulls := h.meet(100_000, &pos, true, one)
		require.InDelta(t, 100_000/(chaseAfter-chaseAgain), lulls, 2)
	})
}
