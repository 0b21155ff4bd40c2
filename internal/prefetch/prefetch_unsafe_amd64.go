package prefetch

import "unsafe"

// ForWriting asks for so many cache lines, at least one, from the one that at is in, to be this
// processor's own. It does not wait for them, and never faults, whatever lies there. Go has no
// instruction for that (PREFETCHW; a processor that has none ignores it), and the next best thing, to write a line
// before it is needed, holds up the writes behind it.
//
//go:noescape
func ForWriting(at unsafe.Pointer, lines int)
