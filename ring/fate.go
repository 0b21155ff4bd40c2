package ring

import (
	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// How streams end. A stream is what one producer sends from its attachment on, and is
// named by the producer's place and epoch. Its fate stands in the segment, in that place,
// and needs no room in the ring: whoever consumes then is told behind the stream's last
// message. fuzz/models/fates.pml is the protocol.
//
//	whoever holds the producer's life lock       the consumer
//	  1 Pos, PID of a place whose fates were told   News has changed, or a record is the first
//	  2 Fate                                         of its stream: oldest fate behind Told
//	  3 News + 1                                     Pos reached: tell the user
//	  4 only now State, or the next stream's Epoch   at its next call: Over, Told
//
// Killed before 2, the holder of the lock leaves a stream without a fate, of which the next
// one makes one that died. Killed before 3 or 4, it leaves a participant that looks alive
// and holds no lock: who finds that does 3 and 4. Killed before it has noted what it told,
// the consumer leaves it to its successor to tell that again.

// storeFate notes how the newest stream of a producer ended, unless that was done, and
// tells whether it was not. The caller holds the producer's life lock, or is the producer.
//
// A dead one may have been killed before the news of what it had stored, so whoever finds it dead tells them in any
// case. One that leaves and has said before how its stream ended has no news: nobody rings for them, and a
// sleeper that finds some when its sleep is over takes them for a lost wake-up.
func (s *segment) storeFate(i int, f layout.Fate, pos uint64) (stored bool) {
	m := &s.participants[i]
	epoch, told := m.Epoch.Load(), m.Told.Load()
	place, word := newestFate(m)
	if int32(word.Upto()-epoch) < 0 {
		for k := range m.Fates {
			if at := &m.Fates[k]; int32(at.Fate.Load().Upto()-told) <= 0 {
				place, word = at, 0 // else the newest stands for this one too
				break
			}
		}
		place.PID.Store(m.PID.Load())
		place.Pos.Store(pos)
		killpoint.At(killpoint.FatePosStored)
		place.Fate.Store(word.With(epoch, f))
		killpoint.At(killpoint.FateStored)
		stored = true
	}
	if stored || f == layout.FateDied {
		s.hot.News.Add(1)
		killpoint.At(killpoint.NewsStored)
	}
	return stored
}

// storeGoing notes how a consumer went, for those who look at who is there. Nothing is decided
// by it.
func (s *segment) storeGoing(m *layout.Participant, f layout.Fate) {
	epoch := m.Epoch.Load()
	at := &m.Fates[epoch%layout.Fates]
	if at.Fate.Load().Upto() == epoch {
		return // it had said so itself, and was killed then
	}
	at.PID.Store(m.PID.Load())
	at.Pos.Store(s.hot.ReadPos.Load())
	killpoint.At(killpoint.FatePosStored)
	at.Fate.Store(layout.FateWord(0).With(epoch, f))
	killpoint.At(killpoint.FateStored)
}

// newestFate is the fate of the newest stream of a producer that has one, or an empty place.
func newestFate(m *layout.Participant) (at *layout.StreamFate, word layout.FateWord) {
	at = &m.Fates[0]
	word = at.Fate.Load()
	for k := range m.Fates[1:] {
		next := &m.Fates[1+k]
		if w := next.Fate.Load(); int32(w.Upto()-word.Upto()) > 0 {
			at, word = next, w
		}
	}
	return at, word
}

// lastDied tells whether the newest stream of a producer that is over died.
func lastDied(m *layout.Participant) bool {
	_, word := newestFate(m)
	f, _ := word.Of(word.Upto())
	return f == layout.FateDied
}

// isOpen tells whether a participant is a producer that may send more. Whether it lives is
// another question.
func (s *segment) isOpen(i int) bool {
	m := &s.participants[i]
	if i == layout.ConsumerIndex || !m.State.Load().Attached() {
		return false
	}
	_, word := newestFate(m)
	return int32(word.Upto()-m.Epoch.Load()) < 0
}

// streamEnd is a position behind everything that a producer has sent, which sends no more.
func (s *segment) streamEnd() uint64 {
	read := s.hot.ReadPos.Load()
	if s.mpsc {
		return s.hot.Tail.Load().Pos(read)
	}
	end, _ := s.walk(read, s.load) // what is wrong there the consumer will find too
	return end
}

// oldestFate is the first fate of a producer behind those up to told.
func (s *segment) oldestFate(i int, told uint32) (word layout.FateWord, at *layout.StreamFate) {
	m := &s.participants[i]
	if m.Epoch.Load() == told {
		return 0, nil // the usual case, for one load
	}
	for k := range m.Fates {
		w := m.Fates[k].Fate.Load()
		if int32(w.Upto()-told) > 0 && (at == nil || int32(w.Upto()-word.Upto()) < 0) {
			word, at = w, &m.Fates[k]
		}
	}
	return word, at
}
