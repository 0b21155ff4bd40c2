package ring

import (
	"encoding/binary"
	"slices"

	"github.com/shmring/shmring/layout"
)

// Observation is a message as somebody saw it who has no part in the ring.
type Observation struct {
	Position Position
	Kind     uint16
	Producer int    // participant slot of the sender
	Bytes    []byte // a copy; valid until the next call
	Sequence uint64 // which message since the segment's first it is, from 1 on; 0: that is not known
	Missed   uint64 // messages right before it that the observer was too late for
}

// ObserverStats are what an observer has counted.
type ObserverStats struct {
	Messages  uint64 // that it got
	Bytes     uint64 // of those
	Missed    uint64 // messages that were overwritten before it got to them
	Overtaken uint64 // how often that has happened
	// Sequence is the number of the last message that was returned, passed over or missed; 0: not known.
	Sequence uint64
	// Inexact says that Missed is less than it should be: messages were missed while they could not be
	// counted, because a consumer leaves no waypoints, or before a position of unknown number.
	Inexact bool
}

// Observer follows the messages of a ring without a part in it: it only loads, so it works on a mapping
// for reading only, nobody notices it and nobody waits for it. Instead it may be too late: what is
// overwritten before it has copied it is missed, and counted. It copies some records at a time, and
// whether they were whole it asks afterwards, see isWhole. It gets what the consumer gets and in that
// order, also what was released already. One goroutine at a time.
//
// Words of a peer that lies give a *CorruptError, or messages that nobody has sent; all loops are
// bounded.
type Observer struct {
	segment
	wanted   *kinds // nil: all
	at       place
	anchored uint64 // where it went on when it was overtaken last
	failed   error
	found    []Observation // that were copied and are whole
	next     int           // of those
	memory   []byte        // where their bytes are
	newest   []byte        // likewise, of TryLatest
	stats    ObserverStats
}

// place is how far an observer has come, or how far it will have, if what it looks at was whole.
type place struct {
	pos      uint64 // next record
	messages uint64 // before it, since the segment's first; if not numbered since the observer's
	numbered bool
	missed   uint64 // not told yet
	passTo   uint64 // records before that are passed over,
	lost     bool   // and count as missed, or do not
	index    uint32 // of the record there, so many messages are passed over too
}

// An observer takes so much at a time: the messages it takes are all lost if the first was
// overwritten meanwhile, and one look at ReadPos does for them all.
const (
	gulpMessages = 64
	gulpBytes    = 16 << 10
	gulpRecords  = 256 // whether they hold messages or not
)

// overtakenMost is how often in one call an observer may be overtaken.
const overtakenMost = 64

// kinds is a set of kinds of messages.
type kinds [1 << 10]uint64

func (k *kinds) has(kind uint16) bool { return k == nil || k[kind>>6]>>(kind&63)&1 != 0 }

// NewObserver makes an observer of the messages of some kinds, or if there are none of all. It begins
// where Begin says, which is to be called first.
func NewObserver(v *layout.View, only []uint16) *Observer {
	o := &Observer{}
	o.init(v)
	if len(only) > 0 {
		o.wanted = &kinds{}
		for _, kind := range only {
			o.wanted[kind>>6] |= 1 << (kind & 63)
		}
	}
	return o
}

// Stats returns what was counted.
func (o *Observer) Stats() ObserverStats {
	s := o.stats
	s.Missed += o.at.missed
	if o.at.numbered {
		s.Sequence = o.at.messages
	}
	for k, m := range o.found[o.next:] { // told with them, known already
		s.Missed += m.Missed
		if k == 0 && m.Sequence > 0 {
			s.Sequence = m.Sequence - 1
		}
	}
	return s
}

// Held reports whether the next call of Try returns a message that was copied before.
func (o *Observer) Held() bool { return o.next < len(o.found) }

// Try returns the next message, or ErrEmpty if there is none at present. moved tells whether it has
// seen anything new, also if it returns none: then it may pay to look again at once. Errors: ErrEmpty,
// *CorruptError.
func (o *Observer) Try() (m Observation, moved bool, err error) {
	begin, late, tries := o.at.pos, o.stats.Overtaken, overtakenMost
	for !o.Held() {
		if o.failed != nil {
			return m, moved, o.failed
		}
		was := o.at.pos
		if o.failed = o.advance(); o.failed != nil {
			continue
		}
		if o.stats.Overtaken != late { // what lies behind us then may be as much as there ever was
			late, begin, tries = o.stats.Overtaken, o.at.pos, tries-1
		}
		moved = moved || o.at.pos != was
		if o.at.pos == was || !o.Held() && (o.at.pos-begin > o.span || tries == 0) {
			return m, moved, ErrEmpty
		}
	}
	m = o.found[o.next]
	o.next++
	o.stats.Messages++
	o.stats.Bytes += uint64(len(m.Bytes))
	o.stats.Missed += m.Missed
	return m, true, nil
}

// advance copies what is next, or goes on where it can if that was overwritten.
func (o *Observer) advance() error {
	to, err := o.gather(o.at, true)
	if !o.isWhole(o.at.pos) {
		o.found = o.found[:0]
		return o.goOn()
	}
	if to.pos != o.at.pos {
		err = nil // it is met again, if it is still there
	}
	o.at = to
	return err
}

// goOn is what an observer does that was overtaken. What is left of the ring from the waypoint on may
// be nearly overwritten too: if it has just been overtaken, it leaves itself a quarter of the ring.
func (o *Observer) goOn() error {
	o.stats.Overtaken++
	was := o.at
	to, err := o.writtenTo()
	if err != nil {
		return err
	}
	p, _, err := o.anchor()
	if o.broadcast {
		p, err = o.oldestAnchor(o.span / 4)
	}
	if err != nil {
		return err
	}
	if int64(p.pos-was.pos) <= 0 {
		return &CorruptError{"position of a waypoint", was.pos, p.pos} // nobody could have overtaken us
	}
	p = o.skipTo(p)
	if from := to - o.span + o.span/4; !o.broadcast && was.pos-o.anchored < o.span/4 && int64(from-p.pos) > 0 {
		p.passTo, p.lost = from, true
	}
	o.anchored, o.at = p.pos, p
	return nil
}

// skipTo is a place ahead, for who goes on there and misses what is in between.
func (o *Observer) skipTo(p place) place {
	was := o.at
	p.missed = was.missed
	switch gap := p.messages - was.messages; {
	case p.numbered && was.numbered && int64(gap) >= 0:
		p.missed += gap
	default:
		p.missed++
		o.stats.Inexact = true
	}
	return p
}

// gather looks at some records from a place on, and returns the place behind them. Nothing of it counts
// before isWhole of the first position has said so, an error neither. What is to be delivered is in
// found. deliver is false for who only wants to pass over records.
func (o *Observer) gather(p place, deliver bool) (place, error) {
	o.found, o.next, o.memory = o.found[:0], 0, o.memory[:0]
	for range gulpRecords {
		pass := int64(p.passTo-p.pos) > 0
		if len(o.found) >= gulpMessages || len(o.memory) >= gulpBytes || !pass && !deliver {
			break
		}
		r, err := o.look(p.pos)
		if err != nil || r.end == r.pos {
			return p, err
		}
		switch {
		case r.empty:
		case r.batch:
			err = o.gatherBatch(&p, r, pass)
		case pass:
			p.pass(1)
		case o.wanted.has(r.kind) && p.index == 0:
			o.deliver(&p, Observation{Position: Position{r.pos, 0}, Kind: r.kind, Producer: r.from, Bytes: o.copy(r.body)[:r.n]})
		default:
			p.messages++
		}
		if err != nil {
			return p, err
		}
		if !pass && !r.empty {
			p.index = 0
		}
		p.pos = r.end
	}
	return p, nil
}

// pass moves over messages that are not delivered.
func (p *place) pass(messages uint64) {
	p.messages += messages
	if p.lost {
		p.missed += messages
	}
}

// deliver puts a message into found.
func (o *Observer) deliver(p *place, m Observation) {
	p.messages++
	if p.numbered {
		m.Sequence = p.messages
	}
	m.Missed, p.missed = p.missed, 0
	o.found = append(o.found, m)
}

// gatherBatch is gather of a record that is a batch. One that is passed over is not copied.
func (o *Observer) gatherBatch(p *place, r observed, pass bool) error {
	if pass {
		n, ok := countEntries(r.body, r.n, o.maxMessage)
		if !ok {
			return &CorruptError{"batch: entry length", r.pos, n}
		}
		p.pass(n)
		return nil
	}
	b := batch{rest: o.copy(r.body)[:r.n]}
	for ; len(b.rest) > 0; b.index++ {
		n, kind, ok := b.entry(o.maxMessage)
		if !ok {
			return &CorruptError{"batch: entry length", r.pos, uint64(n)}
		}
		if b.index < p.index || !o.wanted.has(kind) {
			p.messages++
		} else {
			o.deliver(p, Observation{
				Position: Position{r.pos, b.index}, Kind: kind, Producer: r.from,
				Bytes: b.rest[layout.EntryHeader : layout.EntryHeader+n : layout.EntryHeader+n],
			})
		}
		b.rest = b.rest[min(entrySize(n), len(b.rest)):]
	}
	return nil
}

// countEntries counts the messages of a batch of n bytes that others may be writing over.
func countEntries(body []uint64, n uint64, maxMessage int) (messages uint64, ok bool) {
	var header [layout.EntryHeader]byte
	for at := uint64(0); at < n; messages++ {
		binary.NativeEndian.PutUint64(header[:], glanceAt(&body[at/8]))
		length, _, _ := layout.UnpackMeta(binary.NativeEndian.Uint64(header[:]))
		if at+layout.EntryHeader > n || uint64(length) > min(n-at-layout.EntryHeader, uint64(maxMessage)) {
			return uint64(length), false
		}
		at += uint64(entrySize(int(length)))
	}
	return messages, true
}

// copy copies words, each in one piece and in their order: whoever asks isWhole afterwards knows
// whether they were those of the record.
func (o *Observer) copy(body []uint64) []byte {
	begin, n := len(o.memory), 8*len(body)
	if cap(o.memory)-begin < n {
		o.memory, begin = make([]byte, 0, max(2*gulpBytes, 2*n)), 0 // what was copied before stays where it is
	}
	o.memory = o.memory[:begin+n]
	to := o.memory[begin:]
	for i := range body {
		binary.NativeEndian.PutUint64(to[8*i:], glanceAt(&body[i]))
	}
	return slices.Clip(to)
}

// observed is a record as it seems to be.
type observed struct {
	pos, end uint64 // equal: there is none yet
	empty    bool   // it holds nothing for anybody
	batch    bool
	kind     uint16
	from     int
	n        uint64   // bytes,
	body     []uint64 // which are in these words
}

// look looks at the record at a position. Errors are those of a reader.
func (o *Observer) look(pos uint64) (observed, error) {
	if o.mpsc {
		return o.lookMPSC(pos)
	}
	return o.lookSPSC(pos)
}

func (o *Observer) lookSPSC(pos uint64) (r observed, err error) {
	r.pos, r.end = pos, pos
	w := o.glance(pos)
	if w == 0 {
		return r, nil
	}
	end, ok := o.check(pos, w)
	r.n, r.empty = w.Length(), w&layout.RecordSkip != 0
	if !ok || r.n > uint64(o.maxMessage) && !r.empty {
		return r, &CorruptError{"word of a record", pos, uint64(w)}
	}
	if r.end, r.kind, r.from = end, w.Kind(), fromSPSC; !r.empty {
		r.body = o.recordWords(pos, r.n)
	}
	return r, nil
}

func (o *Observer) lookMPSC(pos uint64) (r observed, err error) {
	r.pos, r.end = pos, pos
	v := o.ctl(pos).Load()
	if !v.IsFinished(o.lap(pos)) {
		return r, nil
	}
	k := v.Slots()
	if k == 0 || pos&o.mask+k > o.count {
		return r, &CorruptError{"record length in slots", pos, k}
	}
	if r.end, r.empty = pos+k, v.State() == layout.Discarded; r.empty {
		return r, nil
	}
	if r.from = int(v.Owner()); !o.isProducer(r.from) {
		return r, &CorruptError{"record owner", pos, uint64(r.from)}
	}
	meta := glanceAt(&o.descAt(pos).Meta) // once
	if err = o.checkMeta(pos, k, meta); err != nil {
		return r, err
	}
	length, kind, flags := layout.UnpackMeta(meta)
	r.n, r.kind, r.batch = uint64(length), kind, flags&layout.FlagBatch != 0
	r.body = o.slotWords(pos, r.n)
	return r, nil
}
