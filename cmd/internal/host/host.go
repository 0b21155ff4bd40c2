package host

import (
	"cmp"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/shmring/shmring/internal/pin"
	"github.com/shmring/shmring/internal/spin"
)

// Processors is on how many this process may run.
func Processors() int {
	if n := len(pin.CPUs()); n > 0 {
		return n
	}
	return runtime.NumCPU()
}

// Times are those of [Spent].
type Times struct{ all, busy, stolen, own time.Duration }

// Beside says what processors did between two looks besides our own work: the shares, in
// percent, that other processes took, and that the host of a virtual machine took away.
func (t Times) Beside(later Times) (others, stolen float64) {
	all := later.all - t.all
	if all <= 0 {
		return 0, 0
	}
	rest := max(0, later.busy-t.busy-(later.own-t.own))
	return 100 * float64(rest) / float64(all), 100 * float64(later.stolen-t.stolen) / float64(all)
}

// Places counts how often a process was seen on each processor.
type Places map[int]uint64

// Note adds where the caller runs now, with a system call that does not block. A nil Places
// takes no notes.
func (p Places) Note() {
	if p != nil {
		p[spin.CPU()]++
	}
}

// Add puts those of another process in.
func (p Places) Add(other Places) {
	for cpu, n := range other {
		p[cpu] += n
	}
}

// String names them, the most frequent first, with their shares if there are several.
func (p Places) String() string {
	var all uint64
	for _, n := range p {
		all += n
	}
	var parts []string
	for _, cpu := range slices.SortedFunc(maps.Keys(p), func(a, b int) int {
		return cmp.Or(cmp.Compare(p[b], p[a]), cmp.Compare(a, b))
	}) {
		part := fmt.Sprint(cpu)
		if len(p) > 1 {
			part += fmt.Sprintf(" (%.0f %%)", 100*float64(p[cpu])/float64(all))
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}
