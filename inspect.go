package shmring

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/shmring/shmring/shm"
)

// InspectOptions tell [Inspect], [List] and [NewInspector] where rings are, and how to look. The
// zero value and nil are good defaults.
type InspectOptions struct {
	// Dir is where the rings' files are. Empty: the environment variable SHMRING_DIR, else
	// /dev/shm.
	Dir string
	// Watch is how long to wait for a second look. One look shows what is there; only two show
	// whether it moves: that a consumer releases nothing, or that a claim stays open. 0: one look.
	Watch time.Duration
}

func (o *InspectOptions) orDefault() InspectOptions {
	if o == nil {
		return InspectOptions{}
	}
	return *o
}

// Inspect looks at a ring from outside: who is attached and alive, what is queued, which claims
// are open, what consumers have not been told, and what is the matter. It changes nothing, and
// nobody feels it: it takes no role and no lock, maps the file for reading only, wakes nobody, and
// [Remove] and [Resize] work meanwhile. It looks at each ring that it may read, whoever it belongs
// to, and at files that are none: a ring of another version, one that is damaged, and one that may
// not be read are no errors but verdicts, with the reason in Snapshot.Err. A user who may write
// the file may shorten it while it is looked at; that too is an error there, and no signal.
//
// Errors: fs.ErrNotExist if there is no such file; fs.ErrInvalid for a name that cannot be;
// ErrUnsupported; a [*ContextError] when ctx is done.
func Inspect(ctx context.Context, name string, o *InspectOptions) (Snapshot, error) {
	private := o.orDefault()
	in, err := NewInspector(name, &private)
	if err != nil {
		return Snapshot{}, err
	}
	list, err := lookTwice(ctx, []*Inspector{in}, private.Watch)
	if err != nil {
		return Snapshot{}, err
	}
	return list[0], nil
}

// InspectFile is Inspect of a file by its path, which may be a copy of a ring. Nobody holds the locks
// of a copy: who is attached to the ring is told as dead. Errors: those of Inspect, but for names.
func InspectFile(ctx context.Context, path string, o *InspectOptions) (Snapshot, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Snapshot{}, err
	}
	list, err := lookTwice(ctx, []*Inspector{{path: path}}, o.orDefault().Watch)
	if err != nil {
		return Snapshot{}, err
	}
	return list[0], nil
}

// List inspects all rings of a directory, by name. Whatever has a ring's file name and is none, or
// may not be read, is among them. One that is removed meanwhile is not. Errors: those of reading the
// directory; ErrUnsupported; a [*ContextError].
func List(ctx context.Context, o *InspectOptions) ([]Snapshot, error) {
	private := o.orDefault()
	found, err := shm.Segments(private.Dir)
	if err != nil {
		return nil, err
	}
	all := make([]*Inspector, len(found))
	for i, f := range found {
		all[i] = &Inspector{name: f.Name, path: f.Path, optional: true}
	}
	return lookTwice(ctx, all, private.Watch)
}

// lookTwice looks at some rings, and at all of them again after a while, unless that is 0.
func lookTwice(ctx context.Context, all []*Inspector, watch time.Duration) (list []Snapshot, err error) {
	looks := 1
	if watch > 0 {
		looks = 2
	}
	for n := range looks {
		if n > 0 {
			wait := time.NewTimer(watch)
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
			}
		}
		list = nil
		around := lookAround()
		for _, in := range all {
			if err := contextEnded(ctx, in.name, "inspect"); err != nil {
				return nil, err
			}
			s, err := in.look(around)
			switch {
			case err == nil:
				list = append(list, s)
			case !in.optional || !errors.Is(err, fs.ErrNotExist):
				return nil, err
			}
		}
	}
	return list, nil
}

// Inspector looks at one ring again and again, and remembers since when something is as it is. One
// goroutine at a time.
type Inspector struct {
	name, path string
	optional   bool // it may be gone
	before     remembered
}

// NewInspector makes one. Of the options Dir matters. Nothing is touched. The error is fs.ErrInvalid
// for a name that cannot be.
func NewInspector(name string, o *InspectOptions) (*Inspector, error) {
	path, err := shm.Path(name, &shm.Options{Dir: o.orDefault().Dir})
	if err != nil {
		return nil, err
	}
	return &Inspector{name: name, path: path}, nil
}

// Look is [Inspect] with one look more: what it says to have lasted, was so at each look since. If
// another ring has got the name meanwhile, or another consumer the role, that begins anew.
func (in *Inspector) Look() (Snapshot, error) { return in.look(lookAround()) }

// lookAt is shm.LookAt. Only tests replace it.
var lookAt = shm.LookAt

func (in *Inspector) look(around *surroundings) (Snapshot, error) {
	s := Snapshot{Name: in.name, Path: in.path, Time: time.Now()}
	o, err := lookAt(in.path)
	switch {
	case err == nil:
		s.fill(o, around)
		o.Close()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrUnsupported):
		return Snapshot{}, err
	default:
		s.unopened(err)
	}
	in.before.compare(&s)
	s.judge()
	return s, nil
}

// remembered is what an Inspector remembers of a ring from one look to the next.
type remembered struct {
	inode    uint64
	uuid     string
	since    time.Time // of the first look
	began    uint64    // ReadPos then
	consumer uint32    // its epoch
	read     uint64    // ReadPos at the last look
	waiting  time.Time // since when messages wait before it; zero: they do not
	claims   map[openedClaim]time.Time
}

// openedClaim tells claims apart: positions never repeat.
type openedClaim struct {
	position Position
	producer int
}

// compare says of a snapshot what was so at the looks before, and remembers it.
func (m *remembered) compare(s *Snapshot) {
	if s.Ring == nil {
		*m = remembered{}
		return
	}
	q := &s.Ring.Queue
	if m.inode != s.File.Inode || m.uuid != s.File.UUID {
		*m = remembered{inode: s.File.Inode, uuid: s.File.UUID, since: s.Time, began: q.ReadPos.Record}
	}
	s.Watched = s.Time.Sub(m.since)
	q.Moved = q.ReadPos.Record - m.began
	var consumer uint32
	for _, p := range s.Ring.Peers {
		if p.Role == RoleConsumer {
			consumer = p.Epoch
		}
	}
	// A claim in front of all messages is not for the consumer to pass.
	claims := s.Ring.Claims
	waits := q.Messages > 0 && (len(claims) == 0 || q.Oldest.Compare(claims[0].Position) < 0) &&
		s.Ring.Kind != KindBroadcast
	switch {
	case !waits:
		m.waiting = time.Time{}
	case m.waiting.IsZero() || m.read != q.ReadPos.Record || m.consumer != consumer:
		m.waiting = s.Time
	default:
		q.StillFor = s.Time.Sub(m.waiting)
	}
	m.read, m.consumer = q.ReadPos.Record, consumer
	was := m.claims
	m.claims = map[openedClaim]time.Time{}
	for i := range claims {
		key := openedClaim{claims[i].Position, claims[i].Producer}
		since, known := was[key]
		if !known {
			since = s.Time
		}
		m.claims[key] = since
		claims[i].OpenFor = s.Time.Sub(since)
	}
}
