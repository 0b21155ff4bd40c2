//go:build !amd64

package prefetch

import "unsafe"

// ForWriting does nothing here.
func ForWriting(unsafe.Pointer, int) {}
