//go:build !killpoint

package killpoint

// At does nothing.
func At(Point) {}
