package ring

import (
	"cmp"
	"fmt"
)

// Position names one message of a ring for ever: the slot at which its record begins, or on an SPSC
// ring the byte, counted from the segment's first, and its place in that record (0 unless it was
// sent in a batch on an MPSC ring). Positions grow in the order of delivery and are the same when a message is
// delivered again, so a sink that stores the last one together with its effect can tell
// what it has seen.
type Position struct {
	Record uint64
	Index  uint32
}

// Compare orders positions of one ring: -1, 0 or +1.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(int64(p.Record-q.Record), 0); c != 0 {
		return c
	}
	return cmp.Compare(p.Index, q.Index)
}

func (p Position) String() string { return fmt.Sprintf("%d.%d", p.Record, p.Index) }
