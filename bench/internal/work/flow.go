package work

import (
	"fmt"
	"slices"
)

// send sends as fast as it can.
func (a *worker) send() error {
	step := a.sendOne()
	seq := 0
	for until := Now() + int64(a.j.For); !a.over(seq, until); {
		for range max(1, a.stride/a.j.Batch) {
			if err := step(&seq); err != nil {
				return err
			}
		}
	}
	a.r.Messages = uint64(seq)
	return a.end(a.buffer())
}

// sendOne returns how to send the next message, or the next batch.
func (a *worker) sendOne() func(seq *int) error {
	id := uint64(a.index) << 56
	if a.j.Work == "batch" && a.j.Batch > 1 {
		batch := make([][]byte, a.j.Batch)
		for i := range batch {
			batch[i] = a.buffer()
		}
		link, many := a.out.(Batcher)
		if placed, ok := a.out.(BatchPlacer); ok {
			return a.sendBatchPlaced(placed, id, batch[0])
		}
		return func(seq *int) error {
			for i := range batch {
				a.stamp(batch[i], id|uint64(*seq))
				*seq++
			}
			if many {
				return link.SendMany(batch)
			}
			for _, msg := range batch {
				if err := a.out.Send(msg); err != nil {
					return err
				}
			}
			return nil
		}
	}
	buf := a.buffer()
	if link, ok := a.out.(Placer); ok {
		var h uint64
		write := func(msg []byte) {
			copy(msg, buf) // what stands for making the message
			a.stamp(msg, h)
		}
		return func(seq *int) error {
			h = id | uint64(*seq)
			n := len(buf)
			if a.mixed {
				n = mixedSize(h)
			}
			*seq++
			return link.SendPlaced(n, write)
		}
	}
	return func(seq *int) error {
		msg := a.stamp(buf, id|uint64(*seq))
		*seq++
		return a.out.Send(msg)
	}
}

// sendBatchPlaced returns how to send the next batch in place.
func (a *worker) sendBatchPlaced(link BatchPlacer, id uint64, buf []byte) func(seq *int) error {
	var h uint64
	write := func(msg []byte) {
		copy(msg, buf) // what stands for making the message
		a.stamp(msg, h)
		h++
	}
	return func(seq *int) error {
		h = id | uint64(*seq)
		*seq += a.j.Batch
		return link.SendManyPlaced(a.j.Batch, len(buf), write)
	}
}

// flow is what a receiver knows of the streams of its senders.
type flow struct {
	a            *worker
	want         []uint64 // next, by sender
	left         int      // senders that have not ended
	first, begin int64    // times
	atBegin      []uint64
	bytesAtBegin uint64
	seen         int   // calls
	got, timed   int   // messages since begin; of those, in times taken
	last         int64 // when the last time was taken
	touched      byte
}

// recv receives, checks and takes the time.
func (a *worker) recv() error {
	f := &flow{a: a, want: make([]uint64, a.j.Producers), left: a.j.Producers}
	buf := a.buffer()
	var one func() error
	batcher, many := a.in.(Batcher)
	placer, place := a.in.(Placer)
	read := f.arrived
	if place {
		read = func(msg []byte) error {
			f.touched += touch(msg)
			return f.arrived(msg)
		}
	}
	switch {
	case many && a.j.Work == "batch":
		one = func() error { return batcher.RecvMany(buf, read) }
	case place:
		one = func() error { return placer.RecvPlaced(read) }
	default:
		one = func() error {
			n, err := a.in.Recv(buf)
			if err != nil {
				return err
			}
			return f.arrived(buf[:n])
		}
	}
	for f.left > 0 {
		if err := one(); err != nil && err != errEnd {
			return err
		}
		if f.begin == 0 {
			f.warm()
		} else if f.got-f.timed >= a.stride {
			f.take()
		}
	}
	a.r.Per = a.stride
	for _, n := range f.want {
		a.r.Messages += n
	}
	return nil
}

// warm begins to measure once it is time.
func (f *flow) warm() {
	if f.seen++; f.seen%f.a.stride != 0 && f.first != 0 && f.a.j.Work != "batch" {
		return
	}
	now := Now()
	if f.first == 0 {
		f.first = now
	}
	if f.a.j.Count > 0 || now-f.first > int64(f.a.j.For)/5 {
		f.begin, f.atBegin, f.bytesAtBegin = now, slices.Clone(f.want), f.a.r.WindowBytes
		f.got, f.timed, f.last = 0, 0, now
	}
}

// take records what stride messages took.
func (f *flow) take() {
	now := Now()
	f.a.times.RecordValue((now - f.last) * int64(f.a.stride) / int64(f.got-f.timed))
	f.timed, f.last = f.got, now
}

// arrived takes note of a message. Nearly all are the next of their sender.
func (f *flow) arrived(msg []byte) error {
	h := head(msg)
	if id := h >> 56; f.a.plain && id < uint64(len(f.want)) && f.want[id] == h&lastSeq {
		f.want[id]++
		f.got++
		return nil
	}
	return f.examine(msg, h)
}

// examine is arrived for messages that are not as usual.
func (f *flow) examine(msg []byte, h uint64) error {
	id, seq := h>>56, h&lastSeq
	if id >= uint64(len(f.want)) {
		return fmt.Errorf("message %x of a sender that does not exist", h)
	}
	if f.a.j.Verify {
		if err := check(msg); err != nil {
			return err
		}
	}
	if seq == lastSeq {
		return f.ended()
	}
	if seq != f.want[id] {
		return fmt.Errorf("message %d of sender %d arrived, want %d", seq, id, f.want[id])
	}
	if f.a.mixed && len(msg) != mixedSize(h) {
		return fmt.Errorf("message %d of %d bytes arrived, want %d", seq, len(msg), mixedSize(h))
	}
	f.want[id]++
	f.got++
	if f.a.r.Shares == nil {
		f.a.r.WindowBytes += uint64(len(msg))
	}
	return nil
}

// ended takes note of the end of a sender. The first ends the measurement.
func (f *flow) ended() error {
	r := &f.a.r
	f.left--
	if r.Shares == nil {
		if f.atBegin == nil { // all too fast to warm up
			f.atBegin = make([]uint64, len(f.want))
		}
		r.WindowNs = Now() - f.begin
		r.WindowBytes -= f.bytesAtBegin
		for i, n := range f.want {
			r.Shares = append(r.Shares, n-f.atBegin[i])
			r.WindowMessages += n - f.atBegin[i]
		}
		if f.a.plain {
			r.WindowBytes = r.WindowMessages * uint64(f.a.j.Size)
		}
	}
	if f.left == 0 {
		return errEnd
	}
	return nil
}
