package work

import (
	"fmt"
	"time"
)

// fewest is how many trips are made even if that takes longer than planned.
const fewest = 20

// ping sends a message, waits for it to come back, and takes the time of that.
func (a *worker) ping() error {
	buf, back := a.buffer(), a.buffer()
	var begin, t int64 // from when the first trip is over: it may have to wait for a connection
	for ; ; a.r.Messages++ {
		if a.j.Count > 0 && a.r.Messages >= uint64(a.j.Count) ||
			a.j.Count == 0 && t > begin+int64(a.j.For) && a.r.Messages >= fewest {
			return a.end(a.buffer())
		}
		if err := a.out.Send(a.stamp(buf, a.r.Messages)); err != nil {
			return err
		}
		n, err := a.in.Recv(back)
		if err != nil {
			return err
		}
		now := Now()
		if got := head(back); got != a.r.Messages {
			return fmt.Errorf("trip %d came back as %d", a.r.Messages, got)
		}
		if err := a.verify(back[:n]); err != nil {
			return err
		}
		if begin == 0 {
			begin = now
		} else {
			a.record(now-begin, now-t)
		}
		t = now
	}
}

// record takes a time down unless it is still warming up.
func (a *worker) record(since, d int64) {
	if a.j.Count > 0 || since > int64(a.j.For)/5 {
		a.times.RecordValue(max(d, 0))
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
		a.record(now-first, now-int64(h))
	}
}
