package ring

import (
	"encoding/binary"

	"github.com/shmring/shmring/layout"
)

// Observation is a message as somebody saw it who has no part in the ring.
type Observation struct {
	Position Position
	Kind     uint16
	Bytes    []byte // a copy; valid until the function that got it returns
}

// Observe calls f with a copy of each message of an SPSC ring that waits for the consumer, or is in
// its hands, the oldest first, until f says false, or until most bytes of messages were copied. It
// takes no part in the ring, writes nothing, and may be called by anybody at any time. What was
// overwritten while it was copied is never shown: then Observe goes on at what is the oldest by
// now, and reports how often that was so. Of a ring that runs fast it may show little. A ring of another
// kind panics. Errors: *CorruptError.
func Observe(v *layout.View, most int, f func(Observation) bool) (overtaken int, err error) {
	if v.Config.Kind != layout.SPSC {
		panic("shmring: Observe of a ring that is not SPSC")
	}
	var s segment
	s.init(v)
	var buf []byte
	for pos, copied := s.hot.ReadPos.Load(), 0; copied < most; {
		w := s.glance(pos)
		end, ok := s.check(pos, w)
		n := w.Length()
		if ok = ok && pos%layout.RecordAlign == 0 && (n <= uint64(s.maxMessage) || w&layout.RecordSkip != 0); ok &&
			w&layout.RecordSkip == 0 {
			buf = s.copyOut(buf, pos, n)
		}
		switch whole := s.isWhole(pos); {
		case !whole && overtaken == observeTries:
			return overtaken, nil
		case !whole:
			overtaken++
			if now := s.hot.ReadPos.Load(); int64(now-pos) > 0 {
				pos = now
			}
			continue
		case w == 0:
			return overtaken, nil
		case !ok:
			return overtaken, &CorruptError{"word of a record", pos, uint64(w)}
		case w&layout.RecordSkip == 0:
			if copied += int(n); !f(Observation{Position{pos, 0}, w.Kind(), buf[:n]}) {
				return overtaken, nil
			}
		}
		pos = end
	}
	return overtaken, nil
}

// observeTries is how often what is observed may be overtaken.
const observeTries = 1000

// copyOut copies the n bytes of the record at pos, a word at a time, each in one piece and in order:
// whoever looks at Written afterwards knows whether they were whole.
func (a *area) copyOut(buf []byte, pos, n uint64) []byte {
	buf = buf[:0]
	for at := uint64(0); at < n; at += layout.RecordAlign {
		buf = binary.NativeEndian.AppendUint64(buf, uint64(a.glance(pos+layout.RecordHeader+at)))
	}
	return buf
}

// isWhole tells whether nothing of a record that was at pos, and not released some time ago, had
// been overwritten by now: whoever writes says so in Written before it does (W).
func (s *segment) isWhole(pos uint64) bool { return int64(s.hot.Written.Load()-pos-s.size) <= 0 }
