package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/workers"
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

func newPlan(c *workers.Setup) plan {
	p := plan{
		verify: 150 * time.Millisecond,
		stream: 400 * time.Millisecond,
		trips:  1200 * time.Millisecond,
		cpus:   c.CPUs,
	}
	if c.Quick {
		p.verify, p.stream, p.trips = 20*time.Millisecond, 40*time.Millisecond, 100*time.Millisecond
	}
	return p
}

// report is all the demo has found.
type report struct {
	workers.Outcome
	Verified []checked `json:"verified"`
	Streams  []rate    `json:"streams"`
	Trips    []trips   `json:"round_trips"`
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

type trips struct {
	Waiting string `json:"waiting"`
	Size    int    `json:"size"`
	*roundtrip.Times
}

func (p plan) steps(r *report) []workers.Step {
	var steps []workers.Step
	for _, size := range sizes {
		steps = append(steps, p.verifyStep(r, shmring.KindSPSC, size, 1), p.verifyStep(r, shmring.KindMPSC, size, 3))
	}
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		for _, size := range sizes {
			steps = append(steps, p.streamStep(r, kind, size))
		}
	}
	return append(steps, p.tripStep(r, false), p.tripStep(r, true))
}

func (p plan) verifyStep(r *report, kind shmring.Kind, size, producers int) workers.Step {
	name := fmt.Sprintf("verify-%v-%d", kind, size)
	return workers.Step{Name: name, Run: func(ctx context.Context, c *workers.Setup) error {
		base := job{
			Job:       workers.Job{Timeout: p.verify + workers.Slack},
			Dir:       c.Dir,
			Ring:      name,
			Kind:      kind,
			Size:      size,
			Producers: producers,
			For:       p.verify,
		}
		jobs := []*job{base.as("verify", -1)}
		for range producers {
			jobs = append(jobs, base.as("stream-load", -1))
		}
		results, err := workers.Run[result](ctx, c, jobs...)
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

func (p plan) streamStep(r *report, kind shmring.Kind, size int) workers.Step {
	name := fmt.Sprintf("stream-%v-%d", kind, size)
	return workers.Step{Name: name, Run: func(ctx context.Context, c *workers.Setup) error {
		base := job{
			Job:  workers.Job{Timeout: p.stream + workers.Slack},
			Dir:  c.Dir,
			Ring: name,
			Kind: kind,
			Size: size,
			For:  p.stream,
		}
		results, err := workers.Run[result](ctx, c, base.as("count", p.cpus[1]), base.as("stream", p.cpus[0]))
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

func (p plan) tripStep(r *report, asleep bool) workers.Step {
	name, waiting := "round-trips-spinning", "spins, then sleeps"
	if asleep {
		name, waiting = "round-trips-sleeping", "sleeps at once"
	}
	return workers.Step{Name: name, Run: func(ctx context.Context, c *workers.Setup) error {
		base := job{
			Job: workers.Job{Timeout: p.trips + workers.Slack}, Dir: c.Dir, Ring: name, Back: name + "-back",
			Kind: shmring.KindSPSC, Size: tripSize, For: p.trips, Asleep: asleep,
		}
		results, err := workers.Run[result](ctx, c, base.as("echo", p.cpus[1]), base.as("ping", p.cpus[0]))
		if err != nil {
			return err
		}
		r.Trips = append(r.Trips, trips{waiting, tripSize, results[1].Trips})
		return nil
	}}
}

// as is the job in one role.
func (j job) as(role string, cpu int) *job {
	j.Role, j.CPU = role, cpu
	return &j
}
