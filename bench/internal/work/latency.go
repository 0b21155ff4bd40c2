package work

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// block is how many trips are made at a time, in turn: so many of which each is timed, then
// so many that are timed together. The latter make means that a coarse clock does not round,
// and that no look at it is part of. Package rival/src has the same number.
const block = 32

// ping sends a message, waits for it to come back, and takes the time of that.
func (a *worker) ping() error {
	buf, back := a.buffer(), a.buffer()
	if err := a.trip(buf, back); err != nil { // it may have to wait for a connection
		return err
	}
	begin := Now()
	for now := begin; a.pings(now - begin); {
		t := Now()
		for range block {
			if err := a.trip(buf, back); err != nil {
				return err
			}
			now = Now()
			a.record(a.times, now-begin, now-t)
			t = now
		}
		for range block {
			if err := a.trip(buf, back); err != nil {
				return err
			}
		}
		now = Now()
		a.record(a.blocks, now-begin, now-t)
	}
	return a.end(a.buffer())
}

// pings tells whether there are more trips to make.
func (a *worker) pings(since int64) bool {
	if a.j.Count > 0 {
		return a.r.Messages < uint64(a.j.Count)
	}
	return since <= int64(a.j.For)
}

// trip is there and back.
func (a *worker) trip(buf, back []byte) error {
	if err := a.out.Send(a.stamp(buf, a.r.Messages)); err != nil {
		return err
	}
	n, err := a.in.Recv(back)
	if err != nil {
		return err
	}
	if got := head(back); got != a.r.Messages {
		return fmt.Errorf("trip %d came back as %d", a.r.Messages, got)
	}
	a.r.Messages++
	return a.verify(back[:n])
}

// record takes a time down unless it is still warming up.
func (a *worker) record(in *hdrhistogram.Histogram, since, d int64) {
	if a.j.Count > 0 || since > int64(a.j.For)/5 {
		in.RecordValue(max(d, 0))
	}
}

// echo sends back what it receives.
func (a *worker) echo() error {
	buf := a.buffer()
	for ; ; a.r.Messages++ {
		n, err := a.in.Recv(buf)
		if err != nil {
			return err
		}
		if head(buf)&lastSeq == lastSeq {
			return nil
		}
		if err := a.verify(buf[:n]); err != nil {
			return err
		}
		if err := a.out.Send(buf[:n]); err != nil {
			return err
		}
	}
}

// sendPaced sends a message every Pace that says when.
func (a *worker) sendPaced() error {
	buf := a.buffer()
	begin := Now()
	next := begin
	for ; a.j.Count > 0 && a.r.Messages < uint64(a.j.Count) || a.j.Count == 0 &&
		next < begin+int64(a.j.For); a.r.Messages++ {
		next += int64(a.j.Pace)
		if a.j.Work == "wake" {
			time.Sleep(a.j.Pace)
			next = Now()
		}
		for Now() < next {
		}
		if err := a.out.Send(a.stamp(buf, uint64(Now()))); err != nil {
			return err
		}
	}
	return a.end(a.buffer())
}

// recvPaced takes the time that each message was under way.
func (a *worker) recvPaced() error {
	buf := a.buffer()
	for first := int64(0); ; {
		n, err := a.in.Recv(buf)
		if err != nil {
			return err
		}
		now := Now()
		h := head(buf)
		if err := a.verify(buf[:n]); err != nil {
			return err
		}
		if h&lastSeq == lastSeq {
			return nil
		}
		if first == 0 {
			first = now
		}
		a.r.Messages++
		a.record(a.times, now-first, now-int64(h))
	}
}
