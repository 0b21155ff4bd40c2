package main

import "github.com/shmring/shmring/fuzz/internal/mutants"

// in lists the exams by their modes: the short version of each.
func in(modes ...string) (some []mutants.Exam) {
	for _, mode := range modes {
		some = append(some, mutants.Exam{Mode: mode, Flags: "-short"})
	}
	return some
}

// mutantTable says what may be broken, and which modes must notice.
var mutantTable = []mutants.Mutant{
	{Name: "no-second-look", Breaks: "a sleeper does not look at the ring after it announced itself", Edits: []mutants.Edit{
		{File: "ring/bell.go",
			Old: "if ready() { // B2",
			New: "if false { // B2"},
	}, Modes: in("cycles")},
	{Name: "no-wake", Breaks: "the waker clears the bits and wakes nobody", Edits: []mutants.Edit{
		{File: "ring/bell.go",
			Old: "bell.Wake(w)",
			New: "_ = w"},
	}, Modes: in("cycles", "fair")},
	{Name: "no-poke", Breaks: "the waker does not wake those who are parked", Edits: []mutants.Edit{
		{File: "ring/bell.go",
			Old: "c.cfg.ParkingLot.Wake()",
			New: "_ = w"},
	}, Modes: in("cycles", "fair")},
	{Name: "one-bit", Breaks: "the waker clears only one of the bits", Edits: []mutants.Edit{
		{File: "ring/bell.go",
			Old: "(w+layout.BellCount)&^layout.BellSleeping)",
			New: "(w+layout.BellCount)&^layout.BellSleeper)"},
	}, Modes: in("syscalls")},
	{Name: "one-of-many", Breaks: "one sleeper is woken, not all", Edits: []mutants.Edit{
		{File: "doorbell/futex.go",
			Old: "_ = futex.WakeAll(b.word)",
			New: "_, _ = futex.Wake(b.word, 1)"},
	}, Modes: in("fair")},
	{Name: "no-cap", Breaks: "a sleep may last for hours", Edits: []mutants.Edit{
		{File: "ring/wait.go",
			Old: "limit := piece(waited, c.cfg.FirstSleep, c.cfg.MaxSleep)",
			New: "limit := 10 * time.Hour"},
	}, Modes: in("killed-waker")},
	{Name: "deaf-to-cancel", Breaks: "a context that ends does not end the sleep", Edits: []mutants.Edit{
		{File: "ring/wait.go",
			Old: "func() { c.stop(word) }",
			New: "func() { _ = c; word.Store(1) }"},
	}, Modes: in("cancel", "refuse")},
	{Name: "error-before-data", Breaks: "the context is asked before the ring", Edits: []mutants.Edit{
		{File: "ring/wait.go",
			Old: "		if ready() {\n			if c.cfg.SpinFor > 0 &&",
			New: "		if end != nil {\n			return end\n		}\n		if ready() {\n			if c.cfg.SpinFor > 0 &&"},
	}, Modes: in("cancel")},
	{Name: "deaf-to-close", Breaks: "Close does not end sleeps", Edits: []mutants.Edit{
		{File: "ring/gate.go",
			Old: "	stop(&g.halt)\n	if left != nil {",
			New: "	g.halt.Store(1)\n	if left != nil {"},
	}, Modes: in("close")},
	{Name: "never-parked", Breaks: "everybody blocks in a system call", Edits: []mutants.Edit{
		{File: "ring/bell.go",
			Old: "if c.cfg.ParkingLot == nil || c.lotFailed",
			New: "if c.cfg.ParkingLot != nil || c.lotFailed"},
	}, Modes: in("threads")},
	{Name: "holds-its-processor", Breaks: "everybody blocks in a system call that the scheduler does not know of", Edits: []mutants.Edit{
		{File: "ring/bell.go",
			Old: "if c.cfg.ParkingLot == nil || c.lotFailed",
			New: "if c.cfg.ParkingLot != nil || c.lotFailed"},
		{File: "futex/syscall_linux_unsafe.go",
			Old: "unix.Syscall6(unix.SYS_FUTEX_WAITV",
			New: "unix.RawSyscall6(unix.SYS_FUTEX_WAITV"},
	}, Modes: in("stall")},
	{Name: "always-rings", Breaks: "who publishes rings, whether somebody sleeps or not", Edits: []mutants.Edit{
		{File: "ring/bell.go",
			Old: "if c.ringWord.Load()&layout.BellSleeping != 0 {",
			New: "if c.ringWord.Or(layout.BellSleeper); true {"},
	}, Modes: in("cycles", "syscalls")},
	{Name: "restless", Breaks: "sleeps do not grow", Edits: []mutants.Edit{
		{File: "ring/wait.go",
			Old: "const sleepShare = 8",
			New: "const sleepShare = 1 << 40"},
		{File: "ring/ring.go",
			Old: "const DefaultFirstSleep = 10 * time.Millisecond",
			New: "const DefaultFirstSleep = 100 * time.Microsecond"},
	}, Modes: []mutants.Exam{{Mode: "idle"}}},
	{Name: "no-slices", Breaks: "without futex_waitv a stop is not noticed", Edits: []mutants.Edit{
		{File: "futex/futex_linux.go",
			Old: "last := deadline.Nano() <= slice.Nano()",
			New: "last := true"},
	}, Modes: in("refuse")},
}
