package wait

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/roundtrip"
	"github.com/shmring/shmring/cmd/internal/workers"
	"github.com/shmring/shmring/internal/clock"
)

// ChildCommand is the subcommand that runs one job.
const ChildCommand = "wait-child"

// size of all messages in bytes.
const size = 32

// job is what one process does.
type job struct {
	workers.Job
	Dir    string             `json:"dir"`
	Ring   string             `json:"ring"`
	Back   string             `json:"back,omitempty"` // the ring for the way back
	Wait   shmring.Doorbell   `json:"wait"`
	Policy shmring.WaitPolicy `json:"policy"`
	For    time.Duration      `json:"for,omitempty"`
	Lead   time.Duration      `json:"lead,omitempty"`  // how long to wait before idleness is measured
	Gap    time.Duration      `json:"gap,omitempty"`   // between messages
	Count  int                `json:"count,omitempty"` // of messages
}

// result is what came of it.
type result struct {
	RoundTrips *roundtrip.Times `json:"trips,omitempty"`
	Samples    []int64          `json:"samples,omitempty"` // ns from sending to having received
	CPU        time.Duration    `json:"cpu,omitempty"`
	Took       time.Duration    `json:"took,omitempty"`
	Sleeps     uint64           `json:"sleeps,omitempty"`
}

// RunChild is the hidden subcommand.
var RunChild = workers.Child(ChildCommand, map[string]func(context.Context, *job) (*result, error){
	"ping":         ping,
	"echo":         echo,
	"send":         sendPaced,
	"receive":      receiveAll,
	"pace":         pace,
	"hold":         hold,
	"idle":         idle,
	"bare-send":    bareSend,
	"bare-receive": bareReceive,
})

// slots is enough for a second of messages at the low rate.
const slots = 1024

func (j *job) options() *shmring.Options {
	return &shmring.Options{
		Dir: j.Dir, Mode: shmring.ModeOpenOrCreate, Slots: slots, SlotSize: shmring.NoPayload, Prefault: true,
		Doorbell: j.Wait, WaitPolicy: j.Policy,
	}
}

// fewest is how many round trips are measured even if that takes longer than planned.
const fewest = 20

func (j *job) route() *roundtrip.Route {
	return &roundtrip.Route{Course: roundtrip.Course{Size: size, For: j.For, Fewest: fewest}, Out: j.Ring, Back: j.Back,
		Options: j.options()}
}

func ping(ctx context.Context, j *job) (*result, error) {
	times, err := j.route().Ping(ctx)
	return &result{RoundTrips: times}, err
}

func echo(ctx context.Context, j *job) (*result, error) {
	_, err := j.route().Echo(ctx)
	return &result{}, err
}

// greeting is the stamp of the message that opens a measurement.
const greeting = 0

func send(ctx context.Context, p *shmring.Producer, stamp int64) error {
	msg := make([]byte, size)
	binary.LittleEndian.PutUint64(msg, uint64(stamp))
	return p.Send(ctx, msg)
}

func receive(ctx context.Context, c *shmring.Consumer) (stamp int64, err error) {
	msg := make([]byte, size)
	_, err = c.Receive(ctx, msg)
	return int64(binary.LittleEndian.Uint64(msg)), err
}

// openProducer returns when a consumer has got the greeting and waits for more.
func openProducer(ctx context.Context, j *job) (*shmring.Producer, error) {
	p, err := shmring.OpenProducer(ctx, j.Ring, j.options())
	if err != nil {
		return nil, err
	}
	err = send(ctx, p, greeting)
	for err == nil && p.Used() > 0 {
		time.Sleep(time.Millisecond)
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// openConsumer returns when it has got the greeting.
func openConsumer(ctx context.Context, j *job) (*shmring.Consumer, error) {
	c, err := shmring.OpenConsumer(ctx, j.Ring, j.options())
	if err != nil {
		return nil, err
	}
	stamp, err := receive(ctx, c)
	if err == nil && stamp != greeting {
		err = fmt.Errorf("the first message has stamp %d, want the greeting's %d", stamp, greeting)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// paced calls f Count times, a Gap apart.
func (j *job) paced(ctx context.Context, f func() error) (*result, error) {
	cpu, next := clock.CPU(), clock.Monotonic()
	for range j.Count {
		next = max(next+int64(j.Gap), clock.Monotonic())
		clock.SleepUntil(next)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := f(); err != nil {
			return nil, err
		}
	}
	return &result{CPU: clock.CPU() - cpu}, nil
}

// pace is sendPaced without a message.
func pace(ctx context.Context, j *job) (*result, error) {
	return j.paced(ctx, func() error { return nil })
}

// sendPaced sends the time, now and then.
func sendPaced(ctx context.Context, j *job) (*result, error) {
	p, err := openProducer(ctx, j)
	if err != nil {
		return nil, err
	}
	r, err := j.paced(ctx, func() error { return send(ctx, p, clock.Monotonic()) })
	if err == nil {
		err = p.CloseSend()
	}
	return r, errors.Join(err, p.Close())
}

// receiveAll notes how old the times are that it receives.
func receiveAll(ctx context.Context, j *job) (*result, error) {
	c, err := openConsumer(ctx, j)
	if err != nil {
		return nil, err
	}
	r := &result{}
	cpu := clock.CPU()
	for {
		stamp, e := receive(ctx, c)
		if e != nil {
			if e != io.EOF {
				err = e
			}
			break
		}
		r.Samples = append(r.Samples, clock.Monotonic()-stamp)
	}
	r.CPU = clock.CPU() - cpu
	return r, errors.Join(err, c.Close())
}

// hold has a producer open and sends nothing for a time.
func hold(ctx context.Context, j *job) (*result, error) {
	p, err := openProducer(ctx, j)
	if err != nil {
		return nil, err
	}
	select {
	case <-time.After(j.For):
		err = send(ctx, p, clock.Monotonic())
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return &result{}, errors.Join(err, p.Close())
}

// usage is what a process has used at a moment.
type usage struct {
	at     int64
	cpu    time.Duration
	sleeps uint64
}

func usageOf(c *shmring.Consumer) usage {
	return usage{clock.Monotonic(), clock.CPU(), c.Stats().Sleeps}
}

// idle is blocked until hold sends, and measures itself after its lead.
func idle(ctx context.Context, j *job) (*result, error) {
	c, err := openConsumer(ctx, j)
	if err != nil {
		return nil, err
	}
	led := make(chan usage, 1)
	defer time.AfterFunc(j.Lead, func() { led <- usageOf(c) }).Stop()
	_, err = receive(ctx, c)
	r, after := &result{}, usageOf(c)
	if err == nil {
		select {
		case before := <-led:
			r.Took, r.CPU, r.Sleeps = time.Duration(
				after.at-before.at), after.cpu-before.cpu, after.sleeps-before.sleeps
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	return r, errors.Join(err, c.Close())
}
