package shm

import (
	"fmt"
	"os"
	"strings"
)

// AddressRange is where a segment is or was mapped. It keeps nothing alive.
type AddressRange struct{ from, to uintptr }

// RangeOf returns where s is mapped.
func RangeOf(s *Segment) AddressRange {
	m := s.back.(*file).mem
	return AddressRange{uintptr(m.base), uintptr(m.base) + uintptr(m.size)}
}

// Mapped reports whether the whole range is covered by mappings of this process.
func (r AddressRange) Mapped() bool {
	maps, _ := os.ReadFile("/proc/self/maps")
	at := r.from
	for line := range strings.Lines(string(maps)) {
		var from, to uintptr
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err == nil && from <= at && at < to {
			at = to
		}
	}
	return at >= r.to
}

// Start formats the first address as /proc/self/maps does.
func (r AddressRange) Start() string { return fmt.Sprintf("%08x", r.from) }
