//go:build !linux

package membarrier

import "errors"

// Join always fails here.
func (System) Join() error { return errors.ErrUnsupported }

// Fence always fails here.
func (System) Fence() error { return errors.ErrUnsupported }
