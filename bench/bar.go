package main

import (
	"fmt"
	"os"
)

// bar shows how far a run is. It writes between measurements only: a clock of its own
// would take time from them.
type bar struct {
	w           *os.File
	tty         bool
	done, steps int
}

func newBar(w *os.File) *bar {
	info, err := w.Stat()
	return &bar{w: w, tty: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (b *bar) Begin(steps int) {
	b.finish()
	b.done, b.steps = 0, steps
}

func (b *bar) Step(what string) {
	b.done++
	if b.tty {
		fmt.Fprintf(b.w, "\r\x1b[K%d / %d %s", b.done, b.steps, what)
	} else if b.done == b.steps {
		fmt.Fprintf(b.w, "%d of %d: %s\n", b.done, b.steps, what)
	}
}

func (b *bar) finish() {
	if b.tty {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
