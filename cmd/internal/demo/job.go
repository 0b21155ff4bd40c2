package demo

import (
	"context"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/load"
	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/stream"
	"github.com/shmring/shmring/cmd/internal/workers"
)

// ChildCommand is the subcommand that runs one job.
const ChildCommand = "demo-child"

// job is what one process does.
type job struct {
	workers.Job
	Dir       string        `json:"dir"`
	Ring      string        `json:"ring"`
	Back      string        `json:"back,omitempty"` // the ring for the way back
	Kind      shmring.Kind  `json:"kind"`
	Size      int           `json:"size"`
	Producers int           `json:"producers,omitempty"`
	For       time.Duration `json:"for"`    // how long to send
	Asleep    bool          `json:"asleep"` // sleep at once rather than spin first
}

// result is what came of it.
type result struct {
	Messages     uint64           `json:"messages"` // sent, verified or measured
	NsPerMessage float64          `json:"ns_per_message,omitempty"`
	Verify       *load.Report     `json:"verify,omitempty"`
	Trips        *roundtrip.Times `json:"trips,omitempty"`
}

var roles = map[string]func(context.Context, *job) (*result, error){
	"stream":      sendAll,
	"count":       count,
	"stream-load": streamLoad,
	"verify":      verify,
	"ping":        ping,
	"echo":        echo,
}

// RunChild is the hidden subcommand.
var RunChild = workers.Child(ChildCommand, roles)

// options are the same for all who open a ring, so it does not matter who creates it.
func (j *job) options() *shmring.Options {
	o := &shmring.Options{Dir: j.Dir, Mode: shmring.ModeOpenOrCreate, Kind: j.Kind, Prefault: true}
	if j.Asleep {
		o.WaitPolicy = shmring.WaitSleep
	}
	return o
}

// fewest is how many trips are measured even if that takes longer than planned.
const fewest = 100

func (j *job) route() *roundtrip.Route {
	return &roundtrip.Route{Course: roundtrip.Course{Size: j.Size, For: j.For, Fewest: fewest}, Out: j.Ring, Back: j.Back,
		Options: j.options()}
}

func (j *job) stream() *stream.Stream {
	return &stream.Stream{Ring: j.Ring, Options: j.options(), Size: j.Size, Producers: max(1, j.Producers), For: j.For}
}

func ping(ctx context.Context, j *job) (*result, error) {
	times, err := j.route().Ping(ctx)
	return &result{Trips: times}, err
}

func echo(ctx context.Context, j *job) (*result, error) {
	n, err := j.route().Echo(ctx)
	return &result{Messages: n}, err
}
