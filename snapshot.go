package shmring

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Snapshot is a ring as somebody saw it who takes no part in it, see [Inspect]. What the ring's
// users have written there is as true as they are.
type Snapshot struct {
	Name string    `json:"name,omitempty"`
	Path string    `json:"path"`
	Time time.Time `json:"time"` // of the look; of the last, if there were two
	// Watched is how long before that the first of several looks was; 0: there was one. All that
	// is said here to have lasted was so at each of them.
	Watched time.Duration `json:"watched_ns"`
	File    *RingFile     `json:"file,omitempty"`  // nil: the system does not tell
	Ring    *RingState    `json:"ring,omitempty"`  // nil: it cannot be read, Err says why
	Error   string        `json:"error,omitempty"` // the text of Err
	// Err is why it cannot be read, or what is wrong in it: fs.ErrPermission, [ErrFormat],
	// [ErrVersion], [ErrCorrupt], [ErrTruncated], [ErrRefused].
	Err error `json:"-"`
	// Verdicts say what is the matter and what to do, the worst first, and what is only good to know
	// last. There is at least one.
	Verdicts []Verdict `json:"verdicts"`
}

// RingFile is the file of a ring, or what is in its place.
type RingFile struct {
	Size  int64  `json:"size"`
	UID   int    `json:"uid"`
	GID   int    `json:"gid"`
	Mode  string `json:"mode"` // permission bits, in octal
	Inode uint64 `json:"inode"`

	// Of what is in the file no version may move this. Empty where it is no ring, or may not be
	// read.
	Version string    `json:"version,omitempty"` // "4.0"
	UUID    string    `json:"uuid,omitempty"`
	Created time.Time `json:"created,omitzero"`

	// Attached are the processes that have the ring open, as the system says (/proc/locks): its
	// users, and those who remove, repair or resize it, who are Exclusive. Known is false where the
	// system does not say. Processes in other PID namespaces may be missing.
	Attached  []int `json:"attached,omitempty"`
	Exclusive bool  `json:"exclusive,omitempty"`
	Known     bool  `json:"attached_known"`
}

// RingState is what is in a ring, and who is there.
type RingState struct {
	Kind     Kind     `json:"-"`
	KindName string   `json:"kind"`
	Geometry Geometry `json:"geometry"`
	Doorbell string   `json:"doorbell"` // how sleepers are woken
	Locks    string   `json:"locks"`    // by what its users tell who is alive: "ofd" or "flock"

	Peers []InspectedPeer `json:"peers"` // by participant slot; those that are free are not among them
	Queue Queue           `json:"queue"`
	// Claims are unfinished, the oldest first: 64 at most, of Queue.OpenClaims.
	Claims []OpenClaim `json:"claims,omitempty"`
	// Untold are ends of streams that no consumer has told its user of yet.
	Untold []UntoldEnd `json:"untold,omitempty"`
	Events uint64      `json:"events"` // how many there were, see [Events]

	// ConsumerSleeps and ProducersSleep say that somebody has gone to sleep who is to be woken when
	// there is a message, or room. A sleeper that was killed may still stand there.
	ConsumerSleeps bool `json:"consumer_sleeps"`
	ProducersSleep bool `json:"producers_sleep"`

	// Queueing is how long messages waited, of those that were measured (Options.MeasureEvery); nil:
	// none was.
	Queueing *Queueing `json:"queueing,omitempty"`

	// Consumed is what all consumers that the ring has had have counted. They do so now and then.
	Consumed Stats `json:"consumed"`
	Produced Stats `json:"produced"` // likewise, all producers; Messages and Bytes are those delivered
}

// Queue is what waits in a ring.
type Queue struct {
	Slots    int     `json:"slots"`    // that are taken
	Fraction float64 `json:"fraction"` // of the ring's, 0 to 1
	Messages uint64  `json:"messages"` // that can be received; of a broadcast ring, seen by who observes it
	Bytes    uint64  `json:"bytes"`    // of those
	// Sent is how many messages were sent since the ring was made, at least; exactly, if SentKnown. A ring knows it by its
	// consumers' count, or by its producer's, if it is a broadcast ring; it is 0, and not known, where the consumer's
	// library does not count, see [Observed.Sequence].
	Sent      uint64 `json:"sent"`
	SentKnown bool   `json:"sent_known"`
	// Redelivered are those of them that a consumer may have seen already.
	Redelivered uint64 `json:"redelivered"`
	OpenClaims  int    `json:"open_claims"`
	// Oldest is the position of the first message, if there is one.
	Oldest Position `json:"oldest"`
	// ReadPos is the position before which everything is released, End that behind what is taken.
	ReadPos Position `json:"read_pos"`
	End     Position `json:"end"`
	// Lap is how many positions are as much as all the slots: so many slots, or on an SPSC ring bytes of
	// its area.
	Lap uint64 `json:"lap"`
	// Exact is false if the ring moved too fast to be counted: then some are missing, or gone.
	Exact bool `json:"exact"`
	// Limited says that there are more messages than were counted.
	Limited bool `json:"limited,omitempty"`
	// StillFor is for how long, to our knowledge, messages have waited and nothing was released.
	StillFor time.Duration `json:"still_for_ns"`
	// Moved is how far ReadPos has gone while we watched: slots, or on an SPSC ring bytes of records.
	Moved uint64 `json:"moved"`
}

// Queueing is a histogram of how long messages were in the queue.
type Queueing struct {
	Count uint64        `json:"count"`
	Sum   time.Duration `json:"sum_ns"`
	// Buckets are in the order of their limits; the last has none.
	Buckets []QueueingBucket `json:"buckets"`
}

// QueueingBucket counts the messages that waited longer than the limit of the bucket before, and not longer
// than its own. Max of the last is 0.
type QueueingBucket struct {
	Max   time.Duration `json:"max_ns"`
	Count uint64        `json:"count"`
}

func queueingOf(v *layout.View) *Queueing {
	counts, sum := ring.LookAtQueueing(v)
	q := &Queueing{Sum: sum}
	for i, n := range counts {
		b := QueueingBucket{Count: n}
		if i < len(layout.QueueingBounds) {
			b.Max = time.Duration(layout.QueueingBounds[i])
		}
		q.Buckets = append(q.Buckets, b)
		q.Count += n
	}
	if q.Count == 0 {
		return nil
	}
	return q
}

// OpenClaim is room of an MPSC ring that was claimed and not finished. Whoever waits for it cannot
// pass it while its owner lives.
type OpenClaim struct {
	Position Position     `json:"position"`
	Slots    int          `json:"slots"`
	Producer int          `json:"producer"` // participant slot
	PID      int          `json:"pid"`      // as the owner sees itself
	PIDHere  int          `json:"pid_here,omitempty"`
	Life     Life         `json:"life"` // of the owner
	Process  ProcessState `json:"process"`
	// OpenFor is for how long we have seen it open. The ring does not say since when it is.
	OpenFor time.Duration `json:"open_for_ns"`
}

// UntoldEnd is how a stream has ended, or several in a row, of which no consumer has told yet.
type UntoldEnd struct {
	Fate     Fate     `json:"-"` // of several, the worst
	FateName string   `json:"fate"`
	Producer int      `json:"producer"` // participant slot
	Epoch    uint32   `json:"epoch"`
	PID      int      `json:"pid"`      // of the producer, as it saw itself; 0: not known
	Position Position `json:"position"` // all that it sent is before it
	Streams  int      `json:"streams"`
}

// Life tells whether a participant is alive.
type Life string

const (
	LifeAlive   Life = "alive"   // it holds its lock
	LifeDead    Life = "dead"    // it does not, and has not left
	LifeUnknown Life = "unknown" // the system does not tell, see [InspectedPeer].Life
	// LifeGone: it is known to all that it has left or died, and its slot is kept until the consumer
	// has passed what it left.
	LifeGone Life = "gone"
)

// ProcessState is what the system says of a process.
type ProcessState string

const (
	ProcessThere   ProcessState = "there"
	ProcessStopped ProcessState = "stopped" // by a signal, or a debugger
	ProcessZombie  ProcessState = "zombie"  // it has ended, and its parent has not looked
	ProcessGone    ProcessState = "gone"
	// ProcessUnknown: it is in another PID namespace, and the system does not tell us which process
	// that is.
	ProcessUnknown ProcessState = "unknown"
)

// InspectedPeer is a participant as [Inspect] finds it.
type InspectedPeer struct {
	Peer
	// Life is LifeUnknown where locks are flock and the process is in a PID namespace whose locks
	// /proc/locks does not show.
	Life    Life         `json:"life"`
	Process ProcessState `json:"process"`
	// PIDHere is its number in our PID namespace: PID, if that is its own too. 0: it is not known.
	PIDHere int `json:"pid_here,omitempty"`
	// Revoked says that its claim at RevokedAt was given up ([ForceSkip]).
	Revoked   bool     `json:"revoked,omitempty"`
	RevokedAt Position `json:"revoked_at,omitzero"`
	// EarlierBoot says that the machine was started again since.
	EarlierBoot bool  `json:"earlier_boot,omitempty"`
	Stats       Stats `json:"stats"` // over all that ever had this participant slot
}

// mostRecords is how many records are counted; more take too long.
const mostRecords = 1 << 20

// surroundings are what the system says of all rings at one time.
type surroundings struct {
	locks     *shm.LockTable
	processes processes
}

func lookAround() *surroundings { return &surroundings{locks: shm.ReadLockTable()} }

// fill looks at the file behind an open onlooker.
func (s *Snapshot) fill(o *shm.Onlooker, around *surroundings) {
	st := o.Stat()
	s.fillFile(st)
	s.File.Attached, s.File.Exclusive, s.File.Known = o.Attached(around.locks)
	var err error
	if fault := o.Safely(func() { err = s.read(o, around) }); fault != nil {
		err, s.Ring = fault, nil
	}
	if err != nil {
		s.failed(err)
	}
}

func (s *Snapshot) fillFile(st shm.FileStat) {
	s.File = &RingFile{Size: st.Size, UID: st.UID, GID: st.GID, Mode: fmt.Sprintf("%#o", uint32(st.Mode)), Inode: st.Inode}
}

// failed notes why a ring cannot be read, or what is wrong in it.
func (s *Snapshot) failed(err error) {
	s.Err = ofFile(s.Path, named(s.Name, err))
	s.Error = s.Err.Error()
}

// unopened notes why a file could not even be opened, and what the system says of it all the same.
func (s *Snapshot) unopened(err error) {
	if st, statErr := shm.StatPath(s.Path); statErr == nil {
		s.fillFile(st)
	}
	s.failed(err)
}

// read reads the ring: what no version may move first, so that it is there whatever else is wrong.
func (s *Snapshot) read(o *shm.Onlooker, around *surroundings) error {
	id, err := layout.ParseIdentity(o.Bytes())
	if err != nil {
		return err
	}
	s.File.Version = fmt.Sprintf("%d.%d", id.Major, id.Minor)
	s.File.UUID = hex.EncodeToString(id.UUID[:])
	if id.Created != 0 {
		s.File.Created = time.Unix(0, id.Created)
	}
	if id.Major == layout.Major && uint64(len(o.Bytes())) < id.Size {
		return fmt.Errorf("%w: %d bytes are left of %d", ErrTruncated, len(o.Bytes()), id.Size)
	}
	v, err := layout.Parse(o.Bytes())
	if err != nil {
		return err
	}
	r := &RingState{
		Kind: Kind(v.Config.Kind), KindName: Kind(v.Config.Kind).String(), Geometry: geometryOf(v.Config),
		Doorbell: v.Config.Doorbell.String(), Locks: locksOf(v.Config).String(), Events: v.Hot.Events.Load(),
	}
	s.Ring = r
	if err := r.readPeers(v, o, around); err != nil {
		return err
	}
	r.ConsumerSleeps = v.Hot.DataBell.Load()&layout.BellSleeping != 0
	r.Queueing = queueingOf(v)
	r.ProducersSleep = v.Hot.SpaceBell.Load()&layout.BellSleeping != 0
	for _, e := range untold(v) {
		r.Untold = append(r.Untold, UntoldEnd{Fate(e.Fate), Fate(e.Fate).String(), e.Producer, e.Epoch, e.PID,
			Position{Record: e.Position}, e.Streams})
	}
	return r.readQueue(v)
}

// untold are the ends of streams that a consumer has yet to tell of; a broadcast ring has none.
func untold(v *layout.View) []ring.StreamEnd {
	if v.Config.Kind == layout.Broadcast {
		return nil
	}
	return ring.UntoldFates(v)
}

func locksOf(cfg layout.Config) shm.Locks {
	if cfg.Incompat&layout.FlockLocks != 0 {
		return shm.Flock
	}
	return shm.OFD
}

// readQueue counts what is in the ring, and whose claims are open.
func (r *RingState) readQueue(v *layout.View) error {
	q, err := ring.LookAtQueue(v, mostRecords)
	r.Queue = Queue{
		Slots: q.Slots, Fraction: q.Fraction, Lap: q.Lap, Messages: q.Messages, Bytes: q.Bytes,
		Sent: q.Sent, SentKnown: q.SentKnown,
		Redelivered: q.Redeliver, OpenClaims: q.Open, Oldest: Position{Record: q.Oldest},
		ReadPos: Position{Record: q.ReadPos}, End: Position{Record: q.End}, Exact: q.Exact, Limited: q.Limited,
	}
	for _, c := range q.Claims {
		claim := OpenClaim{Position{Record: c.Position}, c.Slots, c.Owner, c.PID, 0, LifeGone, ProcessUnknown, 0}
		for _, p := range r.Peers {
			if p.Participant == c.Owner {
				claim.Life, claim.Process, claim.PIDHere = p.Life, p.Process, p.PIDHere
			}
		}
		r.Claims = append(r.Claims, claim)
	}
	for _, e := range r.Untold {
		if ahead := e.Position.Record - q.ReadPos; err == nil && q.Exact && int64(ahead) > int64(q.Lap) {
			err = &ring.CorruptError{Field: "position of a stream's end", Position: q.ReadPos, Got: e.Position.Record}
		}
	}
	return err
}

// readPeers looks who is there.
func (r *RingState) readPeers(v *layout.View, o *shm.Onlooker, around *surroundings) error {
	for i := range v.Participants {
		a, life, err := lookAtPeer(v, o, around.locks, i)
		if err != nil {
			return err
		}
		own := statsOf(a.Stats)
		if i == layout.ConsumerIndex {
			r.Consumed = own
		} else {
			r.Produced = r.Produced.plus(own)
		}
		if a.State == layout.Free {
			continue
		}
		p := InspectedPeer{Peer: peerOf(a.Peer), Life: life, Stats: own}
		p.Alive = life == LifeAlive
		p.PIDHere, p.Process = around.processes.find(a.PID, a.Started, a.BootID, a.PIDNamespace)
		p.EarlierBoot = isEarlierBoot(a.BootID)
		if a.State == layout.Revoked {
			p.Revoked, p.RevokedAt = true, Position{Record: a.DrainPos}
		}
		r.Peers = append(r.Peers, p)
	}
	return nil
}

func isEarlierBoot(id uint64) bool {
	own := processIdentity().BootID
	return id != 0 && own != 0 && id != own
}

// lookAtPeer looks at a participant slot and at its lock, of one and the same owner if it does not
// change all the time.
func lookAtPeer(v *layout.View, o *shm.Onlooker, table *shm.LockTable, i int) (
	a ring.Attendance, life Life, err error) {
	for range 3 {
		a = ring.LookAtParticipant(v, i)
		switch {
		case a.State > layout.Revoked:
			return a, "", &ring.CorruptError{Field: "participant state", Position: uint64(i), Got: uint64(a.State)}
		case a.State == layout.Free:
			return a, "", nil
		case a.State == layout.Draining:
			return a, LifeGone, nil
		}
		life = lifeOf(v, o, table, a)
		if b := ring.LookAtParticipant(v, i); b.Epoch == a.Epoch && b.State == a.State {
			break
		}
	}
	return a, life, nil
}

// lifeOf asks whether one lives that is attached.
func lifeOf(v *layout.View, o *shm.Onlooker, table *shm.LockTable, a ring.Attendance) Life {
	kind := locksOf(v.Config)
	held, sure, err := o.Held(kind, a.Index, table)
	switch {
	case held:
		return LifeAlive
	case err != nil || !sure:
		return LifeUnknown
	case kind == shm.Flock && a.PIDNamespace != processIdentity().PIDNamespace:
		return LifeUnknown // perhaps we are not shown its locks
	}
	return LifeDead
}
