package main

import (
	"fmt"
	"io"
	"os"

	"github.com/cheggaaa/pb/v3"
)

// bar shows how far a run is. It draws between measurements only: a clock of its own
// would take time from them.
type bar struct {
	w   *os.File
	tty bool
	pb  *pb.ProgressBar
}

func newBar(w *os.File) *bar {
	info, err := w.Stat()
	return &bar{w: w, tty: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (b *bar) Begin(steps int) {
	b.finish()
	b.pb = pb.New(steps).SetTemplateString(`{{counters .}} {{bar . "[" "=" ">" " " "]"}} {{string . "step"}}`)
	b.pb.Set(pb.Static, true).Set(pb.Terminal, b.tty).SetWriter(io.Discard).SetMaxWidth(110).Start()
}

func (b *bar) Step(what string) {
	if b.pb == nil {
		return
	}
	b.pb.Set("step", what)
	b.pb.Increment()
	if b.tty {
		fmt.Fprintf(b.w, "\r\x1b[K%s", b.pb.String())
	} else if b.pb.Current() == b.pb.Total() {
		fmt.Fprintf(b.w, "%d of %d: %s\n", b.pb.Current(), b.pb.Total(), what)
	}
}

func (b *bar) finish() {
	if b.pb != nil {
		b.pb.Finish()
		if b.tty {
			fmt.Fprint(b.w, "\r\x1b[K")
		}
	}
}
