package stepper

// Kind is what matters of an instruction.
type Kind int8

// The kinds.
const (
	Ordinary Kind = iota
	Locked        // a read-modify-write that others see as one
	Syscall       // calls the kernel
)
