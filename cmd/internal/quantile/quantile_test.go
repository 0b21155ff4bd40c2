package quantile

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQuantiles(t *testing.T) {
	require.Zero(t, Median([]int64(nil)))
	require.EqualValues(t, 2, Median([]int64{3, 1, 2}))
	require.Equal(t, 2.0, Median([]float64{4, 3, 2, 1}), "the lower of two in the middle: a value that there was")
	var hundred []int64
	for i := range int64(100) {
		hundred = append(hundred, i+1)
	}
	for _, q := range []int{1, 50, 99, 100} {
		require.EqualValues(t, q, Of(hundred, q))
	}
	require.EqualValues(t, 1, Of(hundred, 0))
}

func TestSpread(t *testing.T) {
	require.Zero(t, SpreadOf(nil))
	require.Equal(t, Spread{2, 1, 3}, SpreadOf([]float64{3, 1, 2}))
}
