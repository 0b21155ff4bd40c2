//go:build !linux

package doorbell

import (
	"errors"
	"fmt"

	"github.com/shmring/shmring/layout"
)

func newSysV(Target) (Bell, error) {
	return nil, fmt.Errorf("%w: %s: %w", ErrUnavailable, layout.SysV, sysvRefused())
}

// sysvWaker wakes nobody: no ring sleeps on such a set here.
func sysvWaker(at Target) Bell { return newPoll(at.Word) }

func sysvRefused() error { return fmt.Errorf("%w: it needs Linux", errors.ErrUnsupported) }

// Reachable has nothing to find where there is no SysV bell.
func Reachable(layout.Config, *layout.Semaphores) error { return nil }

// Remove has nothing to do where there is no SysV bell.
func Remove(layout.Config, *layout.Semaphores, File) error { return nil }
