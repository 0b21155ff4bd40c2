package ring

import (
	"bytes"
	"testing"

	"github.com/shmring/shmring/internal/move"
	"github.com/stretchr/testify/require"
)

func TestCopyIn(t *testing.T) {
	src := make([]byte, 3*copyPiece)
	for i := range src {
		src[i] = byte(i * 7 >> 3)
	}
	for _, n := range []int{0, 1, copyPiece - 1, copyPiece, copyPiece + 1, 2*copyPiece - 1, 2 * copyPiece, 2*copyPiece +
		1, 3 * copyPiece} {
		for _, room := range []int{0, 1, copyPiece - 1, copyPiece, copyPiece + 1, 2 * copyPiece, 2*copyPiece + 5,
			3 * copyPiece} {
			dst := make([]byte, room)
			require.Equal(t, min(n, room), copyIn(dst, src[:n]))
			require.True(t, bytes.Equal(src[:min(n, room)], dst[:min(n, room)]), "%d to %d", n, room)
			require.Zero(t, bytes.Trim(dst[min(n, room):], "\x00"))
		}
	}
}

func TestCopyOut(t *testing.T) {
	src := make([]byte, 3*copyPiece)
	for i := range src {
		src[i] = byte(i*7>>3) | 1
	}
	for _, n := range []int{0, 1, move.Least - 1, move.Least, copyPiece, copyPiece + 1, 2*copyPiece - 1, 3 * copyPiece} {
		dst := make([]byte, n+100)
		copyOut(dst, src[:n])
		require.True(t, bytes.Equal(src[:n], dst[:n]), "%d", n)
		require.Zero(t, bytes.Trim(dst[n:], "\x00"), "%d: written behind them", n)
	}
}
