package ring

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCopyBytes(t *testing.T) {
	src := make([]byte, 3*copyPiece)
	for i := range src {
		src[i] = byte(i * 7 >> 3)
	}
	for _, n := range []int{0, 1, copyPiece - 1, copyPiece, copyPiece + 1, 2*copyPiece - 1, 2 * copyPiece, 2*copyPiece +
		1, 3 * copyPiece} {
		for _, room := range []int{0, 1, copyPiece - 1, copyPiece, copyPiece + 1, 2 * copyPiece, 2*copyPiece + 5,
			3 * copyPiece} {
			dst := make([]byte, room)
			require.Equal(t, min(n, room), copyBytes(dst, src[:n]))
			require.True(t, bytes.Equal(src[:min(n, room)], dst[:min(n, room)]), "%d to %d", n, room)
			require.Zero(t, bytes.Trim(dst[min(n, room):], "\x00"))
		}
	}
}
