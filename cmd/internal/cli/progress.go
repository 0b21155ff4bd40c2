package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/shmring/shmring"
)

// Line is a line on a terminal that is written again and again. The zero Line, and one
// on anything else than a terminal, shows nothing.
type Line struct{ w io.Writer }

// NewLine makes a line on w.
func NewLine(w io.Writer) Line {
	if !Terminal(w) {
		return Line{}
	}
	return Line{w}
}

// clearLine goes to the line's begin and clears it.
const clearLine = "\r\x1b[K"

// Show replaces the line's text.
func (l Line) Show(text string) {
	if l.w != nil {
		fmt.Fprint(l.w, clearLine+text)
	}
}

// Clear takes the line away.
func (l Line) Clear() { l.Show("") }

// Handle is a producer or a consumer.
type Handle interface {
	Stats() shmring.Stats
	Used() int
	Slots() int
}

// Progress is a line on a terminal that tells how it goes.
type Progress struct {
	line Line
	stop chan struct{}
	done chan struct{}
}

// every is how often the line is written again.
const every = 200 * time.Millisecond

// StartProgress shows rates and the ring's filling on w, which is a terminal. The
// rates are what arrives at the consumer, the same on both sides. Stop it before the
// handle is closed. It is nil, and Stop does nothing, where w is no terminal.
func (o *Out) StartProgress(h Handle, w io.Writer) *Progress {
	if o.Quiet || o.JSON || !Terminal(w) {
		return nil
	}
	p := &Progress{line: NewLine(w), stop: make(chan struct{}), done: make(chan struct{})}
	go p.follow(h)
	return p
}

func (p *Progress) follow(h Handle) {
	defer close(p.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	begin := time.Now()
	before, then := h.Stats(), begin
	for {
		select {
		case <-p.stop:
			return
		case now := <-tick.C:
			stats, seconds := h.Stats(), now.Sub(then).Seconds()
			p.line.Show(fmt.Sprintf("%s messages/s, %s/s, %d / %d slots, %v",
				Short(float64(stats.Messages-before.Messages)/seconds), Size(float64(stats.Bytes-before.Bytes)/seconds),
				h.Used(), h.Slots(), now.Sub(begin).Round(time.Second)))
			before, then = stats, now
		}
	}
}

// Stop takes the line away.
func (p *Progress) Stop() {
	if p == nil {
		return
	}
	close(p.stop)
	<-p.done
	p.line.Clear()
}
