package load

import "fmt"

// Message is what a Verifier looks at.
type Message struct {
	Slot  int // the producer's place in the ring
	Kind  uint16
	Again bool // marked as redelivered
	Data  []byte
}

// Report is what a Verifier has found.
type Report struct {
	Streams    int    `json:"streams"`    // that were seen
	Joined     int    `json:"joined"`     // of them, first seen in the middle
	Finished   int    `json:"finished"`   // of them, with their last message
	Unfinished int    `json:"unfinished"` // and without
	Cut        int    `json:"cut"`        // of those, with no later stream that may be the successor's
	Verified   uint64 `json:"verified"`   // messages that are right
	Lost       uint64 `json:"lost"`       // numbers that never came
	Repeated   uint64 `json:"repeated"`   // came again, marked as redelivered
	Disordered uint64 `json:"disordered"` // came late, or again without that mark
	Damaged    uint64 `json:"damaged"`    // with wrong bytes
	// Problems describes the first few of whatever is wrong.
	Problems []string `json:"problems,omitempty"`
}

// OK reports whether all messages were there, whole and in order.
func (r Report) OK() bool { return r.Lost == 0 && r.Disordered == 0 && r.Damaged == 0 }

// Verifier checks the messages of any number of producers. The zero value is for a
// consumer that may join streams in their middle.
type Verifier struct {
	// FromStart: nobody consumed before, so a stream that does not begin with its
	// first message has lost something.
	FromStart bool

	streams [256]stream // by slot; a slot has one owner at a time
	report  Report
	checked uint64 // messages, also those that are wrong
	begun   uint64 // checked when the newest stream began
}

type stream struct {
	seen   bool
	ended  bool
	id     uint64
	hasID  bool
	next   uint64
	vague  bool   // of next only the low bytes are known
	newest uint64 // Verifier.checked at its newest message
}

const maxProblems = 10

func (v *Verifier) problem(format string, args ...any) {
	if len(v.report.Problems) < maxProblems {
		v.report.Problems = append(v.report.Problems, fmt.Sprintf(format, args...))
	}
}

// Check looks at the next message.
func (v *Verifier) Check(m Message) {
	s := &v.streams[m.Slot&0xff]
	v.checked++
	s.newest = v.checked
	who, number, damage := decode(m.Data, m.Slot, s.next)
	if damage == "" && m.Kind > Last {
		damage = fmt.Sprintf("kind %d is none of generated load", m.Kind)
	}
	if damage != "" {
		v.report.Damaged++
		v.problem("producer slot %d: message of %d bytes, expected to be number %d: %s", m.Slot, len(m.Data), s.next,
			damage)
		if s.seen {
			s.next++
		}
		return
	}
	hasID := len(m.Data) >= headerSize
	same := hasID && s.hasID && who.id == s.id
	other := hasID && s.hasID && who.id != s.id
	if !s.seen || s.ended || other || m.Kind == First && !same {
		number = v.begin(s, m, number)
	}
	if hasID {
		s.id, s.hasID = who.id, true
	}
	v.place(s, m, number)
}

// begin starts a stream with its first message seen, and returns that one's number.
func (v *Verifier) begin(s *stream, m Message, number uint64) uint64 {
	// Only the stream that was under way when we came can have begun without us.
	join := !s.seen && !v.FromStart && m.Kind != First
	*s = stream{seen: true, newest: v.checked}
	v.begun = v.checked
	v.report.Streams++
	if len(m.Data) < wordSize {
		// The decoded number leaned on a stream that is over.
		number &= 1<<(8*len(m.Data)) - 1
	}
	if join { // of a short message the low bytes alone are known: they may be 0
		v.report.Joined++
		s.next = number
		s.vague = len(m.Data) < wordSize
	}
	return number
}

// place compares a message's number with the one that is due.
func (v *Verifier) place(s *stream, m Message, number uint64) {
	ahead := int64(number - s.next)
	switch {
	case ahead > 0 && s.vague && len(m.Data) >= wordSize:
		s.vague = false // now the number is known
	case ahead > 0:
		v.report.Lost += uint64(ahead)
		v.problem("producer slot %d: number %d comes after %d: %d lost", m.Slot, number, int64(s.next)-1, ahead)
	case ahead < 0 && m.Again:
		v.report.Repeated++
		return
	case ahead < 0:
		v.report.Disordered++
		v.problem("producer slot %d: number %d comes after %d", m.Slot, number, s.next-1)
		return
	}
	s.next = number
	if m.Kind == Last {
		s.ended = true
		v.report.Finished++
		return
	}
	s.next++
	v.report.Verified++
}

// Report returns what was found so far.
func (v *Verifier) Report() Report {
	r := v.report
	r.Unfinished = r.Streams - r.Finished
	for i := range v.streams {
		if s := &v.streams[i]; s.seen && !s.ended && s.newest > v.begun {
			r.Cut++
		}
	}
	return r
}
