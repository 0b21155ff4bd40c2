package bench

import (
	"context"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/host"
	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/stream"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// ChildCommand is the subcommand that runs one job.
const ChildCommand = "bench-child"

// job is what one process does.
type job struct {
	workers.Job
	Ring      ring          `json:"ring"`
	Name      string        `json:"name"`
	Back      string        `json:"back,omitempty"` // the ring for the way back
	Size      int           `json:"size"`
	Producers int           `json:"producers"`
	For       time.Duration `json:"for"`
}

// ring is the options of a ring that the command line has, for a process.
type ring struct {
	Dir        string             `json:"dir"`
	Kind       shmring.Kind       `json:"kind"`
	Slots      int                `json:"slots"`
	SlotSize   int                `json:"slot_size"`
	MaxMessage int                `json:"max_message"`
	Doorbell   shmring.Doorbell   `json:"doorbell"`
	WaitPolicy shmring.WaitPolicy `json:"wait"`
	SpinFor    time.Duration      `json:"spin_for"`
	MaxSleep   time.Duration      `json:"max_sleep"`
}

func ringOf(o shmring.Options, dir string) ring {
	return ring{dir, o.Kind, o.Slots, o.SlotSize, o.MaxMessage, o.Doorbell, o.WaitPolicy, o.SpinFor, o.MaxSleep}
}

// options are the same for all who open a ring, so it does not matter who creates it.
func (r ring) options() *shmring.Options {
	return &shmring.Options{
		Dir: r.Dir, Mode: shmring.ModeOpenOrCreate, Kind: r.Kind, Slots: r.Slots, SlotSize: r.SlotSize,
		MaxMessage: r.MaxMessage, Doorbell: r.Doorbell, WaitPolicy: r.WaitPolicy, SpinFor: r.SpinFor, MaxSleep: r.MaxSleep,
	}
}

// result is what came of it.
type result struct {
	Sent  *stream.Sent     `json:"sent,omitempty"`
	Rate  *stream.Rate     `json:"rate,omitempty"`
	Trips *roundtrip.Times `json:"trips,omitempty"`
	Ran   host.Places      `json:"ran,omitempty"`
}

// roles of processes: two for each measurement, of a ring and of a socket.
const (
	sending, receiving = "send", "receive"
	pinging, echoing   = "ping", "echo"
	bySocket           = "socket-" // in front of the others
)

// RunChild is the hidden subcommand.
var RunChild = workers.Child(ChildCommand, map[string]func(context.Context, *job) (*result, error){
	sending: job1(func(ctx context.Context, j *job, r *result) (err error) {
		r.Sent, err = j.stream(r).Send(ctx)
		return err
	}),
	receiving: job1(func(ctx context.Context, j *job, r *result) (err error) {
		r.Rate, err = j.stream(r).Receive(ctx)
		return err
	}),
	pinging: job1(func(ctx context.Context, j *job, r *result) (err error) {
		r.Trips, err = j.route(r).Ping(ctx)
		return err
	}),
	echoing: job1(func(ctx context.Context, j *job, r *result) error {
		_, err := j.route(r).Echo(ctx)
		return err
	}),
	bySocket + sending:   job1(onSocket((*socket).send)),
	bySocket + receiving: job1(onSocket((*socket).receive)),
	bySocket + pinging:   job1(onSocket((*socket).ping)),
	bySocket + echoing:   job1(onSocket((*socket).echo)),
})

// job1 makes a role of what does one job and puts what came of it into the result.
func job1(do func(context.Context, *job, *result) error) func(context.Context, *job) (*result, error) {
	return func(ctx context.Context, j *job) (*result, error) {
		r := &result{Ran: host.Places{}}
		r.Ran.Note()
		err := do(ctx, j, r)
		return r, err
	}
}

func (j *job) stream(r *result) *stream.Stream {
	return &stream.Stream{Ring: j.Name, Options: j.Ring.options(), Size: j.Size, Producers: j.Producers, For: j.For,
		Ran: r.Ran}
}

// fewest is how many trips are measured even if that takes longer than planned: enough for a
// percentile of 99.
const fewest = 100

func (j *job) course(r *result) roundtrip.Course {
	return roundtrip.Course{Size: j.Size, For: j.For, Fewest: fewest, Ran: r.Ran}
}

func (j *job) route(r *result) *roundtrip.Route {
	return &roundtrip.Route{Course: j.course(r), Out: j.Name, Back: j.Back, Options: j.Ring.options()}
}
