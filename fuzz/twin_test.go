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
	// heeded is called when the producer has looked at what the consumer asks for.
	heeded func()
	align  uint64 // of the records of an SPSC ring: what the consumer asks for, as the producer knows it
	slots  []slot // by participant

	cursor int             // the record that the consumer is at
	entry  int             // the message of it that is next
	inside bool            // the consumer has opened the batch it is at
	again  uint64          // records that begin before it are redelivered
	shown  uint64          // the consumer has handed out what ends at it, or a former one may have
	out    []*delivery     // in the order they were handed to this consumer
	done   map[*record]int // how many messages of a record are handled

	skipped, deaths uint64
}

// record is what somebody claimed.
type record struct {
	start, slots uint64
	owner        int
	epoch        uint32
	state        layout.State // Busy: claimed; Commit; Skip
	orphan       bool         // its owner is gone and will not finish it
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
	fates []fate // of its streams, by epoch
	told  int    // of them
	noted int    // of them the segment says so
}

// fate is how a stream ended.
type fate struct {
	kind  layout.Fate
	pos   uint64 // of tail at that time
	place int    // fates that the segment keeps together have one
}

// What the twin expects of a consumer's call.
type outcome int

const (
	gotMessage outcome = iota
	gotEmpty
	gotNothing // of Check: no error
	gotStopped // the context's error
)

func (w *twin) shared() bool { return w.cfg.Kind == layout.MPSC }
func (w *twin) ring() uint64 {
	if w.shared() {
		return uint64(w.cfg.Slots)
	}
	return uint64(w.cfg.Area())
}

// behind is what has to be free behind the newest record.
func (w *twin) behind() uint64 {
	if w.shared() {
		return 0
	}
	return layout.RecordHeader
}

// gathered is how much a consumer may leave unreleased, and marked ahead, on an SPSC ring.
func (w *twin) gathered() uint64 {
	if w.shared() {
		return 64
	}
	return min(4096, w.ring()/8)
}
func (r *record) next() uint64 { return r.start + r.slots }

// need is how many slots n bytes take, or bytes of the area.
func (w *twin) need(n int) uint64 {
	if !w.shared() {
		return layout.NextRecord(w.tail, uint64(n), w.align-1) - w.tail
	}
	if n <= max(48, w.cfg.SlotSize) {
		return 1
	}
	return uint64((n + w.cfg.SlotSize - 1) / w.cfg.SlotSize)
}

// room says whether a record of n bytes can be claimed now. It adds the padding that
// an attempt leaves behind, whether or not it succeeds.
func (w *twin) room(n int, owner int) (padded, ok bool) {
	if left := w.ring() - w.tail%w.ring(); w.need(n) > left {
		if w.tail+left+w.behind()-w.read > w.ring() {
			return false, false
		}
		w.add(&record{slots: left, owner: owner, state: layout.Discarded})
		padded = true
		w.heeded()
	}
	return padded, w.tail+w.need(n)+w.behind()-w.read <= w.ring()
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
		died := s.state == layout.Used
		if died || s.state == layout.Ended {
			w.retire(i, layout.FateDied)
		}
		if w.quarantined(i) {
			draining++
			continue
		}
		died = died || len(s.fates) > 0 && s.fates[len(s.fates)-1].kind == layout.FateDied
		s.state, s.live, s.epoch = layout.Used, true, s.epoch+1
		return i, 0, died
	}
	return 0, draining, false
}

// retire takes the place of a producer that sends no more.
func (w *twin) retire(i int, kind layout.Fate) {
	w.over(i, kind)
	s := &w.slots[i]
	unfinished := func(r *record) bool { return r.owner == i && r.state == layout.Claimed }
	s.state = layout.Free
	if w.shared() {
		s.drain = w.tail
		if slices.ContainsFunc(w.recs[w.first:], unfinished) {
			s.state = layout.Draining
		}
	}
}

// over notes how the stream of a producer ended, if nobody has.
func (w *twin) over(i int, kind layout.Fate) {
	s := &w.slots[i]
	if len(s.fates) == int(s.epoch) {
		return
	}
	f := fate{kind, w.tail, 0}
	if n := len(s.fates); n > 0 {
		f.place = s.fates[n-1].place
		if s.noted == n || f.place-s.fates[s.noted].place+1 < layout.Fates {
			f.place++
		}
	}
	s.fates = append(s.fates, f)
	for k := range s.fates {
		if s.fates[k].place == f.place {
			s.fates[k].pos = w.tail
		}
	}
}

func (w *twin) quarantined(i int) bool {
	return w.shared() && w.slots[i].state != layout.Free && int64(w.read-w.slots[i].drain) < 0
}

// gone takes a producer away: killed, or gone cleanly.
func (w *twin) gone(i int, clean bool, kind layout.Fate) {
	for _, r := range w.recs[w.first:] {
		if r.owner == i && r.epoch == w.slots[i].epoch {
			r.orphan = true
		}
	}
	w.slots[i].live = false
	if clean {
		w.retire(i, kind)
	}
}

// dead is what a consumer finds out about a producer.
func (w *twin) dead(i int) bool {
	s := &w.slots[i]
	if s.live {
		return false
	}
	if s.state.Attached() {
		if len(s.fates) < int(s.epoch) {
			w.deaths++
		}
		w.retire(i, layout.FateDied)
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
	w.done = map[*record]int{}
	w.out = nil
}

// next is what the consumer's next call finds.
func (w *twin) next() (*delivery, outcome) {
	for ; w.cursor < len(w.recs); w.cursor++ {
		r := w.recs[w.cursor]
		switch r.state {
		case layout.Claimed:
			return nil, gotEmpty
		case layout.Committed:
			w.inside = r.batch
			return &delivery{rec: r, index: w.entry}, gotMessage
		}
	}
	return nil, gotEmpty
}

// ahead is the finished record that is next, which may be a discarded one, or nil.
func (w *twin) ahead() *record {
	if w.cursor == len(w.recs) || w.recs[w.cursor].state == layout.Claimed {
		return nil
	}
	return w.recs[w.cursor]
}

// at is the position to which the consumer comes without a message; skipping: and passes
// over claims whose owners are dead.
func (w *twin) at(skipping bool) uint64 {
	for _, r := range w.recs[w.cursor:] {
		if r.state == layout.Committed || r.state == layout.Claimed && !(r.orphan && skipping) {
			return r.start
		}
	}
	return w.tail
}

// due is the producer whose fate has to be told next, or 0.
func (w *twin) due(skipping bool) (next int) {
	for i := 1; i < len(w.slots); i++ {
		s := &w.slots[i]
		if s.told == len(s.fates) || int64(w.at(skipping)-s.fates[s.told].pos) < 0 {
			continue
		}
		if n := &w.slots[next]; next == 0 || int64(s.fates[s.told].pos-n.fates[n.told].pos) < 0 {
			next = i
		}
	}
	return next
}

// quiet tells whether nobody may send more, and everything was received.
func (w *twin) quiet() bool {
	for i := 1; i < len(w.slots); i++ {
		if s := &w.slots[i]; len(s.fates) < int(s.epoch) {
			return false
		}
	}
	return w.at(false) == w.tail
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
