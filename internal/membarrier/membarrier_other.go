//go:build !linux

package membarrier

import "errors"

// Join always fails here.
func (System) Join() (joined bool, err error) { return false, errors.ErrUnsupported }

// Joined is never so here.
func (System) Joined() bool { return false }

// Fence always fails here.
func (System) Fence() error { return errors.ErrUnsupported }

// FenceAll always fails here.
func (System) FenceAll() error { return errors.ErrUnsupported }
