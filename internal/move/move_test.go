package move

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOut(t *testing.T) {
	const most, before, behind = 3*Least + 5, 7, 70
	src := make([]byte, most)
	for i := range src {
		src[i] = byte(i*7>>3) | 1
	}
	for _, n := range []int{0, 1, 8, 63, 64, Least - 1, Least, Least + 1, 2*Least + 31, most} {
		room := make([]byte, before+n+behind)
		Out(room[before:], src[:n])
		require.True(t, bytes.Equal(src[:n], room[before:before+n]), "%d bytes", n)
		require.Zero(t, bytes.Trim(room[:before], "\x00"), "%d bytes: written before them", n)
		require.Zero(t, bytes.Trim(room[before+n:], "\x00"), "%d bytes: written behind them", n)
	}
	require.Panics(t, func() { Out(make([]byte, Least-1), src[:Least]) })
}
