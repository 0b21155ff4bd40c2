package work

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// worker plays one role of a job.
type worker struct {
	j       *Job
	role    string
	index   int
	out, in Link
	stride  int  // messages between two looks at the clock
	mixed   bool // the work
	plain   bool // all messages have one size and only their first word matters
	r       Result
	times   *hdrhistogram.Histogram
	blocks  *hdrhistogram.Histogram // of trips, all of a block together
}

func newWorker(j *Job, role string, index int, open Open) (*worker, error) {
	a := &worker{j: j, role: role, index: index, stride: 64, mixed: j.Work == "mixed", r: Result{Role: role}}
	a.plain = !a.mixed && !j.Verify
	if j.Size > 4096 {
		a.stride = 1
	}
	var err error
	end := func(l *Link, direction string, sender bool) {
		if err == nil {
			*l, err = open(j, direction, sender)
		}
	}
	switch role {
	case "send":
		end(&a.out, "there", true)
	case "recv":
		end(&a.in, "there", false)
	case "ping":
		end(&a.out, "there", true)
		end(&a.in, "back", false)
	case "echo":
		end(&a.in, "there", false)
		end(&a.out, "back", true)
	default:
		err = fmt.Errorf("no role %q", role)
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

func (a *worker) close() error {
	var errs []error
	for _, l := range []Link{a.out, a.in} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

func (a *worker) run() error {
	a.times = hdrhistogram.New(1, int64(time.Minute), 3)
	a.blocks = hdrhistogram.New(1, int64(time.Minute), 3)
	err := a.work()
	a.r.Times, a.r.BlockTimes = pairs(a.times), pairs(a.blocks)
	if a.r.BlockTimes != nil {
		a.r.Block = block
	}
	if err != nil {
		return fmt.Errorf("%s after %d messages: %w", a.role, a.r.Messages, err)
	}
	return nil
}

// pairs are the values of a histogram and how often each was seen.
func pairs(h *hdrhistogram.Histogram) (list [][2]int64) {
	for _, b := range h.Distribution() {
		if b.Count > 0 {
			list = append(list, [2]int64{(b.From + b.To) / 2, b.Count})
		}
	}
	return list
}

func (a *worker) work() error {
	switch {
	case a.role == "ping":
		return a.ping()
	case a.role == "echo":
		return a.echo()
	case a.role == "send" && a.j.Paced():
		return a.sendPaced()
	case a.role == "recv" && a.j.Paced():
		return a.recvPaced()
	case a.role == "send":
		return a.send()
	}
	return a.recv()
}

// errEnd tells a receiver that the last sender has ended.
var errEnd = io.EOF

// over tells a sender that its time is.
func (a *worker) over(sent int, until int64) bool {
	if a.j.Count > 0 {
		return sent >= a.j.Count
	}
	return Now() >= until
}

// stamp makes a message of buf.
func (a *worker) stamp(buf []byte, h uint64) []byte {
	if a.plain {
		setHead(buf, h)
		return buf
	}
	return a.stampMore(buf, h)
}

func (a *worker) stampMore(buf []byte, h uint64) []byte {
	if a.mixed {
		buf = buf[:mixedSize(h)]
	}
	setHead(buf, h)
	if a.j.Verify {
		fill(buf)
	}
	return buf
}

func (a *worker) end(buf []byte) error {
	buf = buf[:8]
	if !a.mixed {
		buf = buf[:cap(buf)] // some transports have one size only
	}
	setHead(buf, uint64(a.index)<<56|lastSeq)
	if a.j.Verify {
		fill(buf)
	}
	return a.out.Send(buf)
}

func (a *worker) buffer() []byte {
	buf := make([]byte, a.j.MaxSize())
	for i := range buf {
		buf[i] = 1 // its pages exist from now on
	}
	return buf
}

func (a *worker) verify(msg []byte) error {
	if a.j.Verify {
		return check(msg)
	}
	return nil
}
