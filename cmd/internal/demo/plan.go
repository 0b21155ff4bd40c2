package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/shmring/shmring"
)

// sizes of messages in bytes: inline in a descriptor, just so (48), in a slot, in a
// few, and the longest that a ring takes by default.
var sizes = []int{8, 32, 48, 248, 1016, 4088, 65528}

const tripSize = 32

// plan says how long each part takes.
type plan struct {
	verify, stream, trips time.Duration
	cpus                  [2]int // of producer and consumer; -1: any
}

// timeout is how much longer than planned a process may take. Then it hangs.
const timeout = 15 * time.Second

// report is all the demo has found.
type report struct {
	OK       bool      `json:"ok"`
	Error    string    `json:"error,omitempty"`
	Version  string    `json:"version"`
	CPUs     int       `json:"cpus"`
	Pinned   []int     `json:"pinned,omitempty"` // producer and consumer
	Seconds  float64   `json:"seconds"`
	Verified []checked `json:"verified"`
	Streams  []rate    `json:"streams"`
	Trips    []trip    `json:"round_trips"`
}

type checked struct {
	Ring      string `json:"ring"`
	Size      int    `json:"size"`
	Producers int    `json:"producers"`
	Messages  uint64 `json:"messages"`
}

type rate struct {
	Ring      string  `json:"ring"`
	Size      int     `json:"size"`
	Producers int     `json:"producers"`
	NsPerMsg  float64 `json:"ns_per_msg"`
	MsgsPerS  float64 `json:"msgs_per_s"`
	BytesPerS float64 `json:"bytes_per_s"`
	Messages  uint64  `json:"messages"` // that were measured
}

type trip struct {
	Waiting string `json:"waiting"`
	Size    int    `json:"size"`
	*trips
}

// step is one part of the demo.
type step struct {
	name string
	run  func(ctx context.Context, c crew, dir string, r *report) error
}

func (p plan) steps() []step {
	var steps []step
	for _, size := range sizes {
		steps = append(steps, p.verifyStep(shmring.SPSC, size, 1), p.verifyStep(shmring.MPSC, size, 3))
	}
	for _, kind := range []shmring.Kind{shmring.SPSC, shmring.MPSC} {
		for _, size := range sizes {
			steps = append(steps, p.streamStep(kind, size))
		}
	}
	return append(steps, p.tripStep(false), p.tripStep(true))
}

func (p plan) verifyStep(kind shmring.Kind, size, producers int) step {
	name := fmt.Sprintf("verify-%v-%d", kind, size)
	return step{name, func(ctx context.Context, c crew, dir string, r *report) error {
		base := job{Dir: dir, Ring: name, Kind: kind, Size: size, Producers: producers, For: p.verify, CPU: -1, Timeout: p.verify + timeout}
		jobs := []*job{base.as("verify", -1)}
		for range producers {
			jobs = append(jobs, base.as("stream-load", -1))
		}
		results, err := c.run(ctx, jobs...)
		if err != nil {
			return err
		}
		var sent uint64
		for _, s := range results[1:] {
			sent += s.Messages
		}
		got := results[0].Messages
		if got != sent {
			return fmt.Errorf("%d messages sent, %d received", sent, got)
		}
		r.Verified = append(r.Verified, checked{kind.String(), size, producers, got})
		return nil
	}}
}

func (p plan) streamStep(kind shmring.Kind, size int) step {
	name := fmt.Sprintf("stream-%v-%d", kind, size)
	return step{name, func(ctx context.Context, c crew, dir string, r *report) error {
		base := job{Dir: dir, Ring: name, Kind: kind, Size: size, For: p.stream, Timeout: p.stream + timeout}
		results, err := c.run(ctx, base.as("count", p.cpus[1]), base.as("stream", p.cpus[0]))
		if err != nil {
			return err
		}
		each := results[0].NsPerMessage
		r.Streams = append(r.Streams, rate{
			Ring: kind.String(), Size: size, Producers: 1, NsPerMsg: each, MsgsPerS: 1e9 / each,
			BytesPerS: 1e9 / each * float64(size), Messages: results[0].Messages,
		})
		return nil
	}}
}

func (p plan) tripStep(asleep bool) step {
	name, waiting := "round-trips-spinning", "spins, then sleeps"
	if asleep {
		name, waiting = "round-trips-sleeping", "sleeps at once"
	}
	return step{name, func(ctx context.Context, c crew, dir string, r *report) error {
		base := job{
			Dir: dir, Ring: name, Back: name + "-back", Kind: shmring.SPSC, Size: tripSize, For: p.trips,
			Asleep: asleep, Timeout: p.trips + timeout,
		}
		results, err := c.run(ctx, base.as("echo", p.cpus[1]), base.as("ping", p.cpus[0]))
		if err != nil {
			return err
		}
		r.Trips = append(r.Trips, trip{waiting, tripSize, results[1].Trips})
		return nil
	}}
}

// as is the job in one role.
func (j job) as(role string, cpu int) *job {
	j.Role, j.CPU = role, cpu
	return &j
}
