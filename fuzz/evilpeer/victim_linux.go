package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
	"github.com/shmring/shmring/shm"
)

// arguments tell the victim what it is.
type arguments struct {
	Role, Mode string
	Files      string // where it writes its report
	place
	Seed   uint64
	Rounds int           // rings that are attacked once each, or configurations
	For    time.Duration // each of those
	Always bool          // the attack leaves less of the file, whatever the victim does
}

func (a arguments) report() string { return filepath.Join(a.Files, "report") }

// report is what the victim tells.
type report struct {
	Rounds       int            `json:"rounds"` // rings
	Configured   int            `json:"configurations,omitempty"`
	Calls        int            `json:"calls,omitempty"`
	Ends         map[string]int `json:"ends"` // of calls that ended with an error, by what it was
	LongestClose int64          `json:"longest_close_us"`
	Longest      int            `json:"longest_close_in"`    // of which ring
	Late         int64          `json:"latest_us,omitempty"` // how late a call came back, behind its deadline
	LateCall     string         `json:"latest,omitempty"`    // which
	Told         int            `json:"told,omitempty"`      // calls that began when the file was cut, and told of it
	ToldSoon     int            `json:"told_within_10_ms,omitempty"`
	ToldLate     map[string]int `json:"told_later,omitempty"`        // which of them
	Untold       map[string]int `json:"went_on_as_before,omitempty"` // and that did not
	ToldIn       string         `json:"told_in,omitempty"`           // how long those took
	Footprint    []string       `json:"footprint,omitempty"`         // at first, and at the end
	Healthy      int            `json:"healthy"`                     // messages of the other ring, all of them exact
	Wrong        []string       `json:"wrong,omitempty"`

	mu     sync.Mutex
	called map[*caller]struct{}
	took   machine.Times // of Told
}

// attacked is the name of the ring that is attacked, and healthy that of the other.
const attacked, healthy = "attacked", "healthy"

// lateness is how late a call may come back: no bound for a good machine, but one that a busy one keeps.
func lateness() time.Duration { return labs.Patience / 2 }

// child is main of the victim, and of the attacker.
func child(text string) error {
	var role struct{ Role string }
	if err := json.Unmarshal([]byte(text), &role); err != nil {
		return err
	}
	if role.Role == "attacker" {
		var a attackerArguments
		if err := labs.BeChild(text, &a); err != nil {
			return err
		}
		return attack(a)
	}
	var a arguments
	if err := labs.BeChild(text, &a); err != nil {
		return err
	}
	return victim(a)
}

func victim(a arguments) error {
	r := &report{Ends: map[string]int{}, ToldLate: map[string]int{}, Untold: map[string]int{},
		called: map[*caller]struct{}{}}
	m := modes[modeOf(a.Mode)]
	h, err := openHealthy(r, a.Dir, m)
	if err != nil {
		return fmt.Errorf("the healthy ring: %w", err)
	}
	go r.watch()
	switch {
	case m.opens:
		err = r.opens(a)
	case m.once != nil:
		err = r.rounds(a)
	default:
		err = r.configurations(a, m)
	}
	if err = errors.Join(err, h.close()); err != nil {
		return err
	}
	if len(r.took) > 0 {
		r.ToldIn = r.took.String()
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(a.report(), data, 0o600)
}

// healthyRing is a ring of the same process which nobody attacks. Its messages are numbered.
type healthyRing struct {
	p    *shmring.Producer
	c    *shmring.Consumer
	dir  string
	set  uint64 // what the segment says of its semaphores
	stop chan struct{}
	done chan error
}

func openHealthy(r *report, dir string, m mode) (h *healthyRing, err error) {
	ctx := context.Background()
	h = &healthyRing{dir: dir, stop: make(chan struct{}), done: make(chan error, 1)}
	o := &shmring.Options{Dir: dir, Slots: 64}
	if m.sysv {
		o.Doorbell, o.WaitPolicy = shmring.DoorbellSysV, shmring.WaitSleep
	}
	if h.p, err = shmring.OpenProducer(ctx, healthy, o); err != nil {
		return nil, err
	}
	if h.c, err = shmring.OpenConsumer(ctx, healthy, o); err != nil {
		return nil, err
	}
	if h.set, err = h.semaphores(); err != nil {
		return nil, err
	}
	go func() { h.done <- h.run(r) }()
	return h, nil
}

// run sends and receives until it is told to stop.
func (h *healthyRing) run(r *report) error {
	ctx, buf := context.Background(), make([]byte, 32)
	for n := 0; ; n++ {
		select {
		case <-h.stop:
			r.mu.Lock()
			r.Healthy = n
			r.mu.Unlock()
			return nil
		default:
		}
		want := fmt.Append(nil, n)
		if err := h.p.Send(ctx, want); err != nil {
			return fmt.Errorf("the healthy ring: message %d: %w", n, err)
		}
		got, err := h.c.Receive(ctx, buf)
		if err != nil || string(buf[:got]) != string(want) {
			return fmt.Errorf("the healthy ring: %q, want %q: %w", buf[:got], want, err)
		}
		if _, err := h.c.TryReceive(buf); err != shmring.ErrEmpty {
			return fmt.Errorf("the healthy ring: more than was sent: %w", err)
		}
		if n%16 == 15 {
			time.Sleep(time.Millisecond) // the attacked ones are what it is about
		}
	}
}

// semaphores is what the ring says of its set of semaphores, with the generation: there is one, if any.
func (h *healthyRing) semaphores() (uint64, error) {
	text, err := os.ReadFile(h.p.Info().Path)
	if err != nil {
		return 0, err
	}
	return native.Uint64(text[setAt:]), nil
}

func (h *healthyRing) close() error {
	close(h.stop)
	err := <-h.done
	set, lost := h.semaphores()
	if err = errors.Join(err, lost); set != h.set {
		err = errors.Join(err, fmt.Errorf("the healthy ring: its semaphores are %#x, and were %#x", set, h.set))
	}
	err = errors.Join(err, h.p.Check(), h.c.Check(), h.p.Close(), h.c.Close())
	return errors.Join(err, shmring.Remove(context.Background(), healthy, &shmring.AdminOptions{Dir: h.dir}))
}

// kinds are what an error may be, by what it is called in the report: whatever else a call returns
// says nothing of what has happened.
var kinds = []struct {
	is   error
	name string
}{
	{shmring.ErrOrphaned, "orphaned"},
	{shmring.ErrRefused, "refused"},
	{shmring.ErrTruncated, "truncated"},
	{shmring.ErrVersion, "version"},
	{shmring.ErrFormat, "format"},
	{shmring.ErrCorrupt, "changed"},
	{shmring.ErrRevoked, "revoked"},
	{shmring.ErrNotStalled, "not stalled"},
	{shmring.ErrNoMessage, "no message there"},
	{shmring.ErrBusy, "busy"},
	{shmring.ErrEnded, "ended"},
	{shmring.ErrClosed, "closed"},
	{shmring.ErrNoPeer, "no peer"},
	{shmring.ErrBroadcast, "broadcast"},
	{
		shmring.ErrTooLarge,
		"too large",
	},
	{io.ErrShortBuffer, "short buffer"},
	{shm.ErrBusy, "busy"},
	{shmring.ErrUnsupported, "unsupported"},
	// Its producer had closed, died or been forged dead; whether it could say so depends on what is left of the file.
	{shmring.ErrPeerDead, "end of a stream"},
	{shmring.ErrFailed, "end of a stream"},
	{io.EOF, "end of a stream"},
	{doorbell.ErrUnavailable, "doorbell"},
	{context.DeadlineExceeded, "deadline"},
	{fs.ErrNotExist, "not there"},
	{shmring.ErrFull, "full"},
	{shmring.ErrEmpty, "empty"},
	{shmring.ErrContended, "contended"},
}

// kindOf names an error, with the field that it is about, and is empty for one that has no name.
func kindOf(err error) string {
	if e, ok := errors.AsType[*shmring.TruncatedError](err); ok && e.Path != "" {
		return "TruncatedError"
	}
	if e, ok := errors.AsType[*shmring.CorruptError](err); ok {
		return "CorruptError: " + e.Field
	}
	if e, ok := errors.AsType[*shmring.FormatError](err); ok {
		return "FormatError: " + e.Field
	}
	if e, ok := errors.AsType[*shmring.GeometryError](err); ok {
		return "GeometryError: " + e.Field
	}
	if e, ok := errors.AsType[*shmring.ResizeError](err); ok {
		return "ResizeError: " + e.Field
	}
	for _, k := range kinds {
		if errors.Is(err, k.is) {
			return k.name
		}
	}
	return ""
}

// end counts how a call ended.
func (r *report) end(what string, err error) {
	kind := kindOf(err)
	if kind == "" {
		r.wrong("%s: %T %v", what, err, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Ends[kind]++
}

func (r *report) wrong(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.Wrong) < labs.MaxProblems {
		r.Wrong = append(r.Wrong, fmt.Sprintf(format, args...))
	}
}

// tooMuch reports whether enough is wrong.
func (r *report) tooMuch() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.Wrong) >= labs.MaxProblems
}

// config is one way to use a ring.
type config struct {
	honest   bool // nobody writes into it
	kind     shmring.Kind
	doorbell shmring.Doorbell
	locks    string
	style    style
	sealed   bool
	polling  bool
	options  shmring.Options
}

// longest is how long messages are at most: less than half of the smallest ring that Resize makes.
const longest = 1000

// style is by which calls messages move.
type style int

const (
	copying style = iota
	inPlace
	batches
	polled // by a Poller
	mixed
	styles
)

// configured is the i-th configuration of a mode: kinds and doorbells take turns, the rest is chance.
func configured(a arguments, m mode, i int) config {
	chance := rand.New(rand.NewPCG(uint64(i), 7))
	c := config{
		honest:   !m.mapped && !m.copies,
		kind:     shmring.KindSPSC + shmring.Kind(i%3),
		doorbell: doorbells[i/3%3],
		locks:    []string{"ofd", "flock"}[i/6%2],
		style:    style((i + i/6) % int(styles)),
		polling:  chance.IntN(3) == 0,
		sealed:   m.sealed == always || m.sealed == sometimes && i%4 == 3,
	}
	if m.locks != "" {
		c.locks = m.locks
	}
	switch {
	case m.mpsc:
		c.kind = shmring.KindMPSC
	case m.sysv || c.sealed: // broadcast rings are neither
		c.kind = shmring.KindSPSC + shmring.Kind(i%2)
	}
	if m.sysv {
		c.doorbell = shmring.DoorbellSysV
	}
	c.options = shmring.Options{
		Dir:        a.Dir,
		Kind:       c.kind,
		Slots:      64,
		SlotSize:   64,
		MaxMessage: longest,
		Doorbell:   c.doorbell,
		Untrusted:  chance.IntN(2) == 0,
		WaitPolicy: shmring.WaitPolicy(chance.IntN(4)),
		KeepStream: chance.IntN(4) == 0,
		Delivery:   shmring.Delivery(chance.IntN(4) / 3),
	}
	if chance.IntN(2) == 0 {
		c.options.OnStreamEnd = func(shmring.StreamEnd) {}
		c.options.OnPeer = func(shmring.PeerEvent) {}
		c.options.OnSkip = func(shmring.SkippedClaim) {}
		c.options.OnStall = func(shmring.StalledClaim) {}
	}
	if chance.IntN(4) == 0 {
		c.options.ExpectedProducers = 1
	}
	switch c.kind {
	case shmring.KindMPSC:
		c.options.MaxProducers = 4
	case shmring.KindBroadcast:
		c.options.Doorbell = shmring.DoorbellAuto
	}
	if m.perm != 0 {
		c.options.Perm = m.perm
	}
	if c.sealed {
		c.locks = "ofd"
		c.options.Dir, c.options.Perm = "", 0
		if c.doorbell == shmring.DoorbellSysV {
			c.options.Doorbell = shmring.DoorbellAuto
		}
	}
	if chance.IntN(8) == 0 && c.kind != shmring.KindBroadcast {
		c.options.NoPeer = shmring.NoPeerFail
	}
	return c
}

// consumes are the options of a consumer. A broadcast ring has none: it is for the ring to say so, if that is
// what it still is.
func (c config) consumes(m shmring.Mode) shmring.Options {
	o := c.options
	if o.Mode = m; c.kind == shmring.KindBroadcast {
		o.Kind, o.Mode = 0, shmring.ModeOpenOnly
	}
	return o
}

func (c config) String() string {
	return fmt.Sprintf(
		"%v, doorbell %v, locks %s, style %d, polling %v, sealed %v, untrusted %v",
		c.kind,
		c.options.Doorbell,
		c.locks,
		c.style,
		c.polling,
		c.sealed,
		c.options.Untrusted,
	)
}
