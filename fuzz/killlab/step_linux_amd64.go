package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const canStep = true

// kernelCall is the instruction SYSCALL.
const kernelCall = "\x0f\x05"

// address is of the instruction that comes next.
func (t *tracer) address() (uint64, error) {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(t.tid, &regs); err != nil {
		return 0, fmt.Errorf("ptrace: registers: %w", err)
	}
	return regs.Rip, nil
}
