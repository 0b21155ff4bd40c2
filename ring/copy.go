package ring

import "github.com/shmring/shmring/internal/move"

// copyPiece is how much is copied at a time. From a megabyte on the runtime writes past
// the caches to memory, which is not for bytes that somebody is about to read. In pieces
// it does not: 1 MiB from process to process in a third of the time. Neither way of copying
// can be interrupted.
const copyPiece = 256 << 10

// copyIn is copy out of the ring, in pieces.
func copyIn(dst, src []byte) int {
	if len(src) > copyPiece {
		return copyInLong(dst, src)
	}
	return copy(dst, src)
}

func copyInLong(dst, src []byte) (n int) {
	for n < min(len(dst), len(src)) {
		n += copy(dst[n:min(n+copyPiece, len(dst))], src[n:])
	}
	return n
}

// copyOut copies src into the ring, to where there is room for it.
func copyOut(dst, src []byte) {
	if len(src) < move.Least {
		copy(dst, src)
	} else {
		copyOutLong(dst, src)
	}
}

func copyOutLong(dst, src []byte) {
	for len(src) > copyPiece {
		move.Out(dst, src[:copyPiece])
		dst, src = dst[copyPiece:], src[copyPiece:]
	}
	move.Out(dst, src)
}
