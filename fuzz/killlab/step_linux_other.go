//go:build linux && !amd64

package main

import "errors"

// Stepping has only been tried on amd64: here the mode says that it is left out.
const canStep = false

const kernelCall = "?"

func (t *tracer) address() (uint64, error) { return 0, errors.ErrUnsupported }
