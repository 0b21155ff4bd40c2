package ring

import "github.com/shmring/shmring/layout"

// Peer is a participant, for people and for those who want to know who is there. Its words
// are the peer's own: nothing is decided by them but what the user decides.
type Peer struct {
	Role         layout.Role
	Index        int    // participant slot
	Epoch        uint32 // how often that slot was taken; of a producer it names the stream
	PID          int    // as it saw itself
	PIDNamespace uint64 // inode of the namespace in which PID means anything
	Since        int64  // when it attached, in nanoseconds since 1970
	Alive        bool   // it holds its life lock
	// Position is ReadPos of a consumer; of a producer the end of what was sent, on an MPSC ring
	// by all of them.
	Position uint64
	Open     bool   // it is a producer that may send more
	Label    string // what it calls itself
	Progress int64  // when it has moved messages: then, or since, in nanoseconds since 1970; 0: not known
}

// Presence looks at who is there. It takes no lock that others feel, other than what held
// does. One goroutine at a time.
type Presence struct {
	segment
	held func(participant int) (bool, error)
	own  int     // participant slot of the handle that asks; −1: none
	seen []sight // by Changes
}

// sight is what was seen of one participant slot.
type sight struct {
	joined uint32 // the newest epoch of which it was told that it came
	over   uint32 // and that it went
	ended  uint32 // and that its stream is over
}

// NewPresence makes one for a handle with that participant slot, or −1. held tells whether
// somebody else holds a life lock.
func NewPresence(v *layout.View, held func(participant int) (bool, error), own int) *Presence {
	s := &Presence{held: held, own: own}
	s.init(v)
	return s
}

// Watch begins to watch for Changes. What was over before is nobody's news.
func (s *Presence) Watch() {
	s.seen = make([]sight, len(s.participants))
	for i := range s.seen {
		m := &s.participants[i]
		epoch := m.Epoch.Load()
		s.seen[i] = sight{epoch, epoch, epoch}
		if m.State.Load().Attached() {
			s.seen[i] = sight{epoch - 1, epoch - 1, epoch - 1}
		}
	}
}

// Peers are the participants that are attached, the dead that nobody has found yet included,
// by participant slot: the consumer comes first.
func (s *Presence) Peers() ([]Peer, error) {
	var list []Peer
	for i := range s.participants {
		m := &s.participants[i]
		for try := 0; try < 3; try++ { // or it changes too fast for a picture of it
			epoch := m.Epoch.Load()
			if !m.State.Load().Attached() {
				break
			}
			alive, err := s.isAlive(i)
			if err != nil {
				return nil, err
			}
			p := s.peer(i, epoch, alive)
			if m.Epoch.Load() == epoch && m.State.Load().Attached() {
				list = append(list, p)
				break
			}
		}
	}
	return list, nil
}

func (s *Presence) isAlive(i int) (bool, error) {
	if i == s.own {
		return true, nil
	}
	return s.held(i)
}

// peer is who is attached at this moment. On an SPSC ring that takes a walk over the records.
func (s *Presence) peer(i int, epoch uint32, alive bool) Peer {
	m := &s.participants[i]
	p := Peer{
		Role: roleOf(i), Index: i, Epoch: epoch, PID: int(m.PID.Load()), PIDNamespace: m.PIDNamespace.Load(),
		Since: m.Since.Load(), Label: m.Label.Load(), Progress: m.Progress.Load(), Alive: alive, Open: s.isOpen(i),
	}
	if i == layout.ConsumerIndex {
		p.Position = s.hot.ReadPos.Load()
	} else {
		p.Position = s.sentUpTo()
	}
	return p
}

func roleOf(i int) layout.Role {
	if i == layout.ConsumerIndex {
		return layout.RoleConsumer
	}
	return layout.RoleProducer
}

// Alone reports whether nobody is at the other end who may still receive, or send. consumer:
// the asker is one.
func (s *Presence) Alone(consumer bool) (bool, error) {
	from, to := layout.ConsumerIndex, layout.ConsumerIndex+1
	if consumer {
		from, to = to, len(s.participants)
	}
	for i := from; i < to; i++ {
		if !s.participants[i].State.Load().Attached() || consumer && !s.isOpen(i) {
			continue
		}
		if alive, err := s.held(i); alive || err != nil {
			return false, err
		}
	}
	return true, nil
}

// PeerChange is what has become of a peer.
type PeerChange int

const (
	PeerJoined PeerChange = iota // it has attached
	PeerEnded                    // its stream is over, and it is still attached
	PeerLeft                     // it has detached
	PeerDied                     // it has died
)

// PeerEvent tells what has become of a peer.
type PeerEvent struct {
	Change PeerChange
	Peer
	Fate   layout.Fate // of its stream, unless PeerJoined
	Missed int         // so many peers have come and gone before this one in its slot, too fast to be seen
}

// Changes calls f for each change since the last call, or since Watch: of each slot in order. It
// stops when f returns false.
func (s *Presence) Changes(f func(PeerEvent) bool) error {
	for i := range s.participants {
		if i == s.own {
			continue
		}
		if goOn, err := s.changesOf(i, f); !goOn || err != nil {
			return err
		}
	}
	return nil
}

func (s *Presence) changesOf(i int, f func(PeerEvent) bool) (goOn bool, err error) {
	m, was := &s.participants[i], &s.seen[i]
	epoch := m.Epoch.Load()
	if was.over == epoch {
		return true, nil
	}
	missed := 0
	if first := epoch - layout.FatesTogether - layout.Fates; int32(was.joined-first) < 0 { // further back nothing is known
		missed = int(first - was.joined)
		was.joined, was.over = first, first
	}
	for e := was.over + 1; int32(epoch-e) >= 0; e++ {
		newest, there := e == epoch, m.State.Load().Attached() // before the fate
		fate, pos, pid, known := s.fateOf(m, e)
		died := known && fate == layout.FateDied
		if newest && there && !died {
			alive, err := s.isAlive(i)
			if err != nil {
				return false, err
			}
			if m.Epoch.Load() != e || !m.State.Load().Attached() {
				return true, nil // it goes at this moment: look again next time
			}
			died = !alive
		}
		if !newest && !known {
			missed++
			was.joined, was.over = e, e
			continue
		}
		tell := func(c PeerChange) bool {
			event := PeerEvent{Change: c, Fate: fate, Missed: missed}
			if newest {
				event.Peer = s.peer(i, e, there && !died)
			} else {
				event.Peer = Peer{Role: roleOf(i), Index: i, Epoch: e, PID: pid, Position: pos}
			}
			if c == PeerDied && !known {
				event.Fate = layout.FateDied
			}
			missed = 0
			return f(event)
		}
		goOn = true
		if was.joined != e {
			was.joined = e
			goOn = tell(PeerJoined)
		}
		switch {
		case !goOn:
		case died:
			was.over = e
			goOn = tell(PeerDied)
		case !newest || !there:
			was.over = e
			goOn = tell(PeerLeft)
		case known && was.ended != e:
			was.ended = e
			goOn = tell(PeerEnded)
		}
		if !goOn || newest {
			return goOn, nil
		}
	}
	return true, nil
}

// fateOf is the fate of one stream of a participant slot, or how one consumer went, if the
// segment still knows.
func (s *Presence) fateOf(m *layout.Participant, epoch uint32) (f layout.Fate, pos uint64, pid int, known bool) {
	told, untold := m.Told.Load(), 0
	var newest, second layout.FateWord // of producers
	for k := range m.Fates {
		at := &m.Fates[k]
		w := at.Fate.Load()
		if w == 0 {
			continue
		}
		if w.Upto() == epoch {
			f, _ = w.Of(epoch)
			return f, at.Pos.Load(), int(at.PID.Load()), true
		}
		if int32(w.Upto()-told) > 0 {
			untold++
		}
		switch {
		case newest == 0 || int32(w.Upto()-newest.Upto()) > 0:
			newest, second = w, newest
		case second == 0 || int32(w.Upto()-second.Upto()) > 0:
			second = w
		}
	}
	// Only when every place is taken does the newest stand for several.
	if untold == layout.Fates && int32(epoch-second.Upto()) > 0 && int32(newest.Upto()-epoch) > 0 &&
		newest.Upto()-epoch < layout.FatesTogether {
		f, _ = newest.Of(epoch)
		return f, 0, 0, true
	}
	return 0, 0, 0, false
}
