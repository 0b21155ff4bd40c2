//go:build !amd64 || race

package move

// The race detector would not see what assembly touches.
const hasStringMove = false

func stringMove(dst, src []byte) { copy(dst, src) }
