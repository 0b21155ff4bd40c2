package fuzz

import (
	"slices"

	"github.com/shmring/shmring/layout"
)

// twin is the slow and obviously right half of FuzzModel: the records of a ring in a
// slice, and the participants in a table.
type twin struct {
	cfg   layout.Config
	recs  []*record // all there ever were
	first int       // the one at ReadPos; len(recs) when ReadPos is tail
	tail  uint64    // where the next one begins
	read  uint64    // ReadPos
	slots []slot    // by participant

	cursor   int             // the record that the consumer is at
	entry    int             // the message of it that is next
	inside   bool            // the consumer has opened the batch it is at
	again    uint64          // records that begin before it are redelivered
	shown    uint64          // the consumer has handed out what ends at it, or a former one may have
	kept     int             // an end that the consumer has passed and not come back from; -1: none
	ended    map[int]uint32  // by participant: the epoch whose end the consumer saw
	ending   bool            // it saw an end and has not said io.EOF since
	look     bool            // and has not asked yet whether it was the last
	lost     uint32          // epoch of an SPSC producer whose death is to be told; 0: none
	reported uint32          // epoch of the newest one whose death was told
	pending  uint32          // epoch of a dead SPSC producer whose death its successor has yet to put on record; 0: none
	out      []*delivery     // in the order they were handed to this consumer
	done     map[*record]int // how many messages of a record are handled

	skipped, deaths uint64
}

// record is what somebody claimed.
type record struct {
	start, slots uint64
	owner        int
	epoch        uint32
	state        layout.State // Busy: claimed; Commit; Skip
	orphan       bool         // its owner is gone and will not finish it
	end          bool         // of a stream
	death        uint32       // epoch of the SPSC producer that died here; 0: no such record
	batch        bool
	msgs         []message
}

type message struct {
	data []byte
	kind uint16
}

// delivery is one message in the consumer's hands.
type delivery struct {
	rec     *record
	index   int
	leased  bool // by Next: handled when released
	handled bool
}

// slot is a participant.
type slot struct {
	state layout.ParticipantState
	live  bool
	epoch uint32
	drain uint64
}

// What the twin expects of a consumer's call.
type outcome int

const (
	gotMessage outcome = iota
	gotEmpty
	gotEOF
	gotDeath
	gotNothing // of Check: no error
	gotStopped // the context's error
)

func (w *twin) shared() bool   { return w.cfg.Kind == layout.MPSC }
func (w *twin) ring() uint64   { return uint64(w.cfg.Slots) }
func (r *record) next() uint64 { return r.start + r.slots }

// need is how many slots n bytes take.
func (w *twin) need(n int) uint64 {
	if n <= max(48, w.cfg.SlotSize) {
		return 1
	}
	return uint64((n + w.cfg.SlotSize - 1) / w.cfg.SlotSize)
}

// room says whether a record of k slots can be claimed now. It adds the padding that
// an attempt leaves behind, whether or not it succeeds.
func (w *twin) room(k uint64, owner int) (padded, ok bool) {
	if w.pending != 0 && !w.report(owner) {
		return false, false
	}
	if left := w.ring() - w.tail%w.ring(); k > left {
		if w.tail+left-w.read > w.ring() {
			return false, false
		}
		w.add(&record{slots: left, owner: owner, state: layout.Discarded})
		padded = true
	}
	return padded, w.tail+k-w.read <= w.ring()
}

// report puts the death of an SPSC producer on record, if there is room.
func (w *twin) report(owner int) bool {
	if w.tail+1-w.read > w.ring() {
		return false
	}
	w.add(&record{slots: 1, owner: owner, epoch: w.pending + 1, state: layout.Committed, death: w.pending})
	w.pending = 0
	return true
}

func (w *twin) add(r *record) *record {
	r.start = w.tail
	w.tail += r.slots
	w.recs = append(w.recs, r)
	return r
}

// attach says which slot a producer gets; 0: none, and how many of them drain.
func (w *twin) attach() (index, draining int, tookOver bool) {
	for i := 1; i < len(w.slots); i++ {
		s := &w.slots[i]
		if s.live {
			continue
		}
		before := s.state
		died := before == layout.Used
		if w.shared() && (died || s.state == layout.Ended) {
			w.retire(i)
		}
		if w.quarantined(i) {
			draining++
			continue
		}
		died = died || before == layout.Draining
		s.state, s.live, s.epoch = layout.Used, true, s.epoch+1
		if died && !w.shared() {
			w.pending = s.epoch - 1
			w.report(i)
		}
		return i, 0, died
	}
	return 0, draining, false
}

func (w *twin) retire(i int) {
	w.slots[i].state = layout.Draining
	if w.shared() {
		w.slots[i].drain = w.tail
	}
}

func (w *twin) quarantined(i int) bool {
	return w.shared() && w.slots[i].state != layout.Free && int64(w.read-w.slots[i].drain) < 0
}

// gone takes a producer away: killed, or gone cleanly.
func (w *twin) gone(i int, clean bool) {
	for _, r := range w.recs[w.first:] {
		if r.owner == i && r.epoch == w.slots[i].epoch {
			r.orphan = true
		}
	}
	w.slots[i].live = false
	w.pending = 0
	if clean {
		w.retire(i)
		unfinished := func(r *record) bool { return r.owner == i && r.state == layout.Claimed }
		if !w.shared() || !slices.ContainsFunc(w.recs[w.first:], unfinished) {
			w.slots[i].state = layout.Free
		}
	}
}

// dead is what a consumer finds out about a producer.
func (w *twin) dead(i int) bool {
	s := &w.slots[i]
	if s.live {
		return false
	}
	switch s.state {
	case layout.Used:
		w.retire(i)
		w.deaths++
	case layout.Ended:
		w.retire(i)
	}
	return true
}

// restart is a new consumer.
func (w *twin) restart() {
	w.cursor, w.entry, w.inside = w.first, 0, false
	w.again = w.slots[layout.ConsumerIndex].drain
	if w.again-w.read > w.ring() {
		w.again = w.read
	}
	w.shown = w.again
	w.reported = 0
	w.kept = -1
	w.ended, w.done = map[int]uint32{}, map[*record]int{}
	w.ending, w.look, w.lost, w.out = false, false, 0, nil
}

// next is what the consumer's next call finds.
func (w *twin) next() (*delivery, outcome) {
	for ; w.cursor < len(w.recs); w.cursor++ {
		r := w.recs[w.cursor]
		switch {
		case r.state == layout.Claimed:
			return nil, w.nothing()
		case r.state == layout.Discarded:
			continue
		case r.death != 0:
			if w.kept < 0 {
				w.kept = w.cursor
			}
			if w.news(r.death) {
				w.cursor++
				return nil, gotDeath
			}
			continue
		case !r.end:
			w.inside = r.batch
			return &delivery{rec: r, index: w.entry}, gotMessage
		}
		w.ended[r.owner] = r.epoch
		if w.kept < 0 {
			w.kept = w.cursor
		}
		if !w.shared() {
			w.cursor++
			return nil, gotEOF
		}
		w.ending, w.look = true, true
	}
	return nil, w.nothing()
}

// nothing is what a consumer says that has no message.
func (w *twin) nothing() outcome {
	if lost := w.lost; lost != 0 {
		w.lost = 0
		if w.news(lost) {
			return gotDeath
		}
	}
	if w.look {
		w.look = false
		return w.judge()
	}
	return gotEmpty
}

// news says whether the death of that producer is to be told.
func (w *twin) news(epoch uint32) bool {
	if epoch == w.ended[1] || epoch <= w.reported {
		return false
	}
	w.reported = epoch
	return true
}

func (w *twin) streaming(i int) bool {
	return w.slots[i].state == layout.Used && w.slots[i].epoch != w.ended[i]
}

func (w *twin) judge() outcome {
	for i := 1; i < len(w.slots); i++ {
		if w.streaming(i) && !w.dead(i) {
			return gotEmpty
		}
	}
	if w.cursor < len(w.recs) {
		return gotEmpty
	}
	w.ending = false
	return gotEOF
}

// show puts a message into the user's hands.
func (w *twin) show(d *delivery) {
	if int64(d.rec.next()-w.shown) > 0 {
		w.shown = d.rec.next()
	}
}

// take moves the consumer behind a message.
func (w *twin) take(d *delivery) {
	w.show(d)
	w.out = append(w.out, d)
	if w.entry++; w.entry == len(d.rec.msgs) {
		w.cursor, w.entry, w.inside = w.cursor+1, 0, false
	}
}

// handle says that all deliveries up to d are handled.
func (w *twin) handle(d *delivery) {
	if w.kept >= 0 && int64(w.recs[w.kept].start-d.rec.start) < 0 {
		w.kept = -1
	}
	for _, o := range w.out {
		if !o.handled {
			o.handled = true
			w.done[o.rec]++
		}
		if o == d {
			return
		}
	}
}

// comeBack is what every further receive does with what was received before.
func (w *twin) comeBack() {
	if w.leased() {
		return
	}
	w.kept = -1
	if n := len(w.out); n > 0 {
		w.handle(w.out[n-1])
	}
}

// leased tells whether a message of Next is still out.
func (w *twin) leased() bool {
	for _, d := range w.out {
		if d.leased && !d.handled {
			return true
		}
	}
	return false
}

// outstanding tells whether any message is.
func (w *twin) outstanding() bool {
	return len(w.out) > 0 && !w.out[len(w.out)-1].handled
}

// releasable says how far ReadPos may be, and how far it is at least when the
// consumer has stored what it owes.
func (w *twin) releasable() (least, most uint64) {
	least, most = w.read, w.read
	upTo := w.cursor
	if w.kept >= 0 && !w.leased() {
		upTo = w.kept // with it goes what was passed over behind it
	}
	for _, r := range w.recs[min(w.first, upTo):upTo] {
		if r.state == layout.Committed && len(r.msgs) > 0 {
			if w.done[r] < len(r.msgs) {
				break
			}
			least = r.next()
		}
		most = r.next()
	}
	if !w.outstanding() {
		least = most
	}
	return least, most
}

// check is what Consumer.Check does.
func (w *twin) check() outcome {
	if w.inside {
		return gotNothing
	}
	if !w.shared() {
		if w.streaming(1) && w.dead(1) {
			w.lost = w.slots[1].epoch
		}
		if w.lost != 0 && w.cursor == len(w.recs) {
			if o := w.nothing(); o != gotEmpty {
				return o
			}
		}
		return gotNothing
	}
	if w.cursor < len(w.recs) {
		if r := w.recs[w.cursor]; r.state == layout.Claimed && r.orphan {
			w.dead(r.owner)
			r.state = layout.Discarded
			w.skipped++
		}
	}
	if w.ending && (w.cursor == len(w.recs) || w.recs[w.cursor].state == layout.Claimed) {
		if o := w.judge(); o != gotEmpty {
			return o
		}
	}
	return gotNothing
}
