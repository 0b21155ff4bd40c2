//go:build !linux

package bench

import (
	"errors"
	"os"
)

// socketPair is for Linux, as rings between processes are.
func socketPair() (ends [2]*os.File, err error) { return ends, errors.ErrUnsupported }
