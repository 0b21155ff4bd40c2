//go:build linux && !amd64

package stepper

import "errors"

// CanStep tells whether stepping has been tried on this architecture.
const CanStep = false

func (s *Stepper) address() (uint64, error) { return 0, errors.ErrUnsupported }

func decode([]byte) Kind { return Ordinary }
