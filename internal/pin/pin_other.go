//go:build !linux

package pin

import (
	"errors"
	"fmt"
)

// CPUs lists the processors that this process may run on.
func CPUs() []int { return nil }

// Thread locks the calling goroutine to its thread, for good, and that to a
// processor.
func Thread(int) error {
	return fmt.Errorf("pinning to a processor: %w", errors.ErrUnsupported)
}

// Apart returns two processors, of different cores where there are such; ok is false
// when there is only one.
func Apart() (a, b int, ok bool) { return 0, 0, false }
