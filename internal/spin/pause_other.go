//go:build !amd64 && !arm64

package spin

// Pause does nothing where no such instruction is known.
func Pause() {}
