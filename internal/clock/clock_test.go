package clock

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Shared lies between two readings of Monotonic, give or take what one of them takes.
func TestShared(t *testing.T) {
	const slack = 100_000 // a hundred times what a reading takes: nothing is judged but the offset
	for range 1000 {
		before := Monotonic()
		now := Shared()
		after := Monotonic()
		require.GreaterOrEqual(t, now, before-slack)
		require.LessOrEqual(t, now, after+slack)
	}
}
