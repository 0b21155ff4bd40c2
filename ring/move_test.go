package ring

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMove(t *testing.T) {
	src := make([]byte, 3*movePiece)
	for i := range src {
		src[i] = byte(i * 7 >> 3)
	}
	for _, n := range []int{0, 1, movePiece - 1, movePiece, movePiece + 1, 2*movePiece - 1, 2 * movePiece, 2*movePiece + 1, 3 * movePiece} {
		for _, room := range []int{0, 1, movePiece - 1, movePiece, movePiece + 1, 2 * movePiece, 2*movePiece + 5, 3 * movePiece} {
			dst := make([]byte, room)
			require.Equal(t, min(n, room), move(dst, src[:n]))
			require.True(t, bytes.Equal(src[:min(n, room)], dst[:min(n, room)]), "%d to %d", n, room)
			require.Zero(t, bytes.Trim(dst[min(n, room):], "\x00"))
		}
	}
}
