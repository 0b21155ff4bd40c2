package shmring

import (
	"context"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Peer is a participant of a ring. What it says of itself is for people, and for the user to
// decide by: a peer may write what it likes.
type Peer struct {
	Role         Role      `json:"role"`
	Participant  int       `json:"participant"`     // Info.Participant: its slot in the table of participants
	Epoch        uint32    `json:"epoch"`           // Info.Epoch: how often that slot was taken
	PID          int       `json:"pid"`             // as it sees itself
	PIDNamespace uint64    `json:"pid_namespace"`   // inode of the namespace in which PID means anything
	Since        time.Time `json:"since"`           // when it attached
	Label        string    `json:"label,omitempty"` // what it calls itself, see Options.Label
	// Progress is when it has moved messages: then, or since. It is exact where messages come so seldom
	// that the other side sleeps; at full speed it is late by 4096 messages, or by a ringful. Zero:
	// it has moved none that is known of.
	Progress time.Time `json:"progress,omitzero"`
	// Alive says that it holds its lock, which the kernel drops when a process dies. One that is
	// stopped or hangs is alive.
	Alive bool `json:"alive"`
	// Open says that it is a producer that has not ended its stream.
	Open bool `json:"open"`
	// Position of a consumer: what is before it was released. Of a producer: what was sent is
	// before it, on an MPSC ring by all producers.
	Position Position `json:"position"`
}

func peerOf(p ring.Peer) Peer {
	own := Peer{
		Role: Role(p.Role.String()), Participant: p.Index, Epoch: p.Epoch, PID: p.PID, PIDNamespace: p.PIDNamespace,
		Alive: p.Alive, Open: p.Open, Position: Position{Record: p.Position},
	}
	if p.Since != 0 {
		own.Since = time.Unix(0, p.Since)
	}
	if own.Label = p.Label; p.Progress != 0 {
		own.Progress = time.Unix(0, p.Progress)
	}
	return own
}

// Peers returns who is attached to a ring, without taking part in it: the consumer comes first.
// It takes no role and changes nothing. Who is dead and was not found yet is among them. Errors:
// those of opening.
func Peers(ctx context.Context, name string, o *AdminOptions) (peers []Peer, err error) {
	err = visit(ctx, name, o, func(seg *shm.Segment, view *layout.View) (err error) {
		peers, err = peersOf(seg, view)
		return err
	})
	return peers, err
}

func peersOf(seg *shm.Segment, view *layout.View) (peers []Peer, err error) {
	list, err := ring.NewPresence(view, seg.Held, nobody).Peers()
	for _, p := range list {
		peers = append(peers, peerOf(p))
	}
	return peers, err
}

// nobody is the participant slot of one who takes no part.
const nobody = -1

// PeerChange is what has become of a peer.
type PeerChange int

const (
	PeerJoined PeerChange = iota // it has attached
	PeerEnded                    // its stream is over, and it is still attached
	PeerLeft                     // it has detached
	PeerDied                     // it has died
)

// String returns "joined", "ended", "left" or "died".
func (c PeerChange) String() string {
	if c < 0 || c > PeerDied {
		return "unknown"
	}
	return [...]string{"joined", "ended", "left", "died"}[c]
}

// PeerEvent tells what has become of a peer. See [Options].OnPeer.
type PeerEvent struct {
	Change PeerChange
	Peer
	Fate Fate // how its stream ended, of a producer that has not just joined
	// Missed is how many others came and went in the same participant slot since the event
	// before, too fast for anybody to see more of them than their number.
	Missed int
}

// NoPeer tells what a handle does when nobody is at the other end.
type NoPeer int

const (
	// NoPeerWait goes on: a producer fills the ring, a consumer waits for another producer.
	NoPeerWait NoPeer = iota
	// NoPeerFail returns ErrNoPeer.
	NoPeerFail
)

// noPeerError is ErrNoPeer with the name of the ring.
type noPeerError struct {
	ring    string
	missing Role
}

func (e *noPeerError) Error() string {
	return prefix(e.ring) + "no " + string(e.missing) + " is attached (Options.NoPeer is NoPeerFail)"
}

func (e *noPeerError) Unwrap() error { return ErrNoPeer }

const (
	// orphanEvery is how often a producer's file is looked at.
	orphanEvery = time.Second
	// peersEvery is how often one looks who is there, for NoPeerFail and OnPeer. Each time takes
	// a process that does nothing else a quarter of a millisecond, most of it for waking up.
	peersEvery = 350 * time.Millisecond
	// restlessEvery is how often, for restlessFor after a change. A ring knows at least the last
	// nine that came and went in a participant slot, so 200 in a second come one by one then.
	restlessEvery = 50 * time.Millisecond
	restlessFor   = 2 * time.Second
)

// attendant looks after a handle now and then, also while nobody calls it, so that the calls
// that move messages need not ask the system.
type attendant struct {
	s      *segment
	onPeer func(PeerEvent)
	look   func() // what else it does in each round, or nil
	every  time.Duration
	timer  *time.Timer
	change time.Time // when OnPeer was called last
}

// attend begins to look after a handle.
func (s *segment) attend(o *Options, every time.Duration, look func()) {
	if look == nil && o.OnPeer == nil || o.lot != nil {
		return
	}
	if o.OnPeer != nil {
		every = min(every, peersEvery)
		s.presence.Watch()
	}
	a := &attendant{s: s, onPeer: o.OnPeer, look: look, every: every}
	a.timer = time.AfterFunc(time.Hour, a.round)
	s.attendant = a
	a.timer.Reset(every) // and not begun with it: round reads a.timer
}

// round is one look. Rounds do not overlap: each sets the timer for the next. It is guarded,
// since nobody but us can do that on this goroutine; there is none after a fault.
func (a *attendant) round() {
	if a.s.guard(a.lookAround) != nil {
		return
	}
	next := a.every
	if time.Since(a.change) < restlessFor {
		next = restlessEvery
	}
	if !a.s.closing.Load() {
		a.timer.Reset(next)
	}
}

func (a *attendant) lookAround() {
	if a.look != nil {
		a.look()
	}
	if a.onPeer != nil {
		// An error is of a segment that has been closed meanwhile.
		_ = a.s.presence.Changes(func(e ring.PeerEvent) bool {
			if a.s.closing.Load() {
				return false // what was seen may not be the ring any more
			}
			a.change = time.Now()
			a.onPeer(PeerEvent{PeerChange(e.Change), peerOf(e.Peer), Fate(e.Fate), e.Missed})
			return true
		})
	}
}

// dismiss ends the attendance. OnPeer may be running still; it may be what closes the handle.
func (s *segment) dismiss() {
	s.closing.Store(true)
	if s.attendant != nil {
		s.attendant.timer.Stop()
	}
}

// peers are the participants of the ring.
func (s *segment) peers() ([]Peer, error) {
	var list []ring.Peer
	err := s.guarded(func() (err error) {
		list, err = s.presence.Peers()
		return err
	})
	if s.closing.Load() {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, err
	}
	peers := make([]Peer, len(list))
	for i, p := range list {
		peers[i] = peerOf(p)
	}
	return peers, nil
}

// noPeer returns an error if nobody is at the other end of a handle in that role.
func (s *segment) noPeer(role Role) error {
	missing := RoleConsumer
	if role == RoleConsumer {
		missing = RoleProducer
	}
	if alone, err := s.presence.Alone(role == RoleConsumer); err != nil || !alone {
		return nil // whoever cannot ask whether somebody lives does not say that nobody does
	}
	return &noPeerError{s.info.Name, missing}
}
