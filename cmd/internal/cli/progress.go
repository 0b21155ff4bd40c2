package cli

import (
	"io"
	"time"

	"github.com/cheggaaa/pb/v3"

	"github.com/shmring/shmring"
)

// Handle is a producer or a consumer.
type Handle interface {
	Stats() shmring.Stats
	Used() int
	Slots() int
}

// Progress is a line on a terminal that tells how it goes.
type Progress struct {
	bar  *pb.ProgressBar
	stop chan struct{}
	done chan struct{}
}

const every = 200 * time.Millisecond

// StartProgress shows rates and the ring's filling on w, which is a terminal. The
// rates are what arrives at the consumer, the same on both sides. Stop it before the
// handle is closed. It is nil, and Stop does nothing, where w is no terminal.
func (o *Out) StartProgress(h Handle, w io.Writer) *Progress {
	if o.Quiet || o.JSON || !Terminal(w) {
		return nil
	}
	p := &Progress{stop: make(chan struct{}), done: make(chan struct{})}
	p.bar = pb.New64(int64(h.Slots()))
	p.bar.SetTemplateString(`{{string . "rate"}} messages/s, {{string . "speed"}}/s, {{bar . "[" "=" ">" " " "]"}} {{counters .}} slots, {{etime .}}`)
	p.bar.Set(pb.CleanOnFinish, true).SetWriter(w).SetMaxWidth(110)
	p.bar.Set("rate", "0").Set("speed", "0 B")
	p.bar.Start()
	go p.follow(h)
	return p
}

func (p *Progress) follow(h Handle) {
	defer close(p.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	before, then := h.Stats(), time.Now()
	for {
		select {
		case <-p.stop:
			return
		case now := <-tick.C:
			stats, seconds := h.Stats(), now.Sub(then).Seconds()
			p.bar.Set("rate", Short(float64(stats.Messages-before.Messages)/seconds))
			p.bar.Set("speed", Size(float64(stats.Bytes-before.Bytes)/seconds))
			p.bar.SetCurrent(int64(h.Used()))
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
	p.bar.Finish()
}
