package stepper

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// CanStep tells whether stepping has been tried on this architecture.
const CanStep = true

// address is of the instruction that comes next.
func (s *Stepper) address() (uint64, error) {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(s.tid, &regs); err != nil {
		return 0, fmt.Errorf("ptrace: registers: %w", err)
	}
	return regs.Rip, nil
}

// decode tells the kind of an instruction.
func decode(b []byte) Kind {
	for i, c := range b {
		switch {
		case c == 0xF0: // LOCK
			return Locked
		case c == 0x66 || c == 0x67 || c == 0xF2 || c == 0xF3 || c&0xF0 == 0x40: // prefixes
		case (c == 0x86 || c == 0x87) && i+1 < len(b) && b[i+1]>>6 != 3: // XCHG with memory
			return Locked
		case c == 0x0F && i+1 < len(b) && b[i+1] == 0x05:
			return Syscall
		default:
			return Ordinary
		}
	}
	return Ordinary
}
