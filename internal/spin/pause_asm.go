//go:build amd64 || arm64

package spin

// Pause is one PAUSE (amd64) or ISB (arm64): some 10 to 100 ns in which a sibling
// thread gets the core and the store buffer of a polled line is left alone. It must
// be called one at a time: a goroutine cannot be preempted inside it.
//
//go:noescape
func Pause()
