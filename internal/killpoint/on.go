//go:build killpoint

package killpoint

// Hook is called at each point. It is set before there is a second goroutine.
var Hook func(Point)

// At calls Hook.
func At(p Point) {
	if Hook != nil {
		Hook(p)
	}
}
