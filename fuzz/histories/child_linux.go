package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/histories/spec"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
	"github.com/shmring/shmring/internal/clock"
)

// args tell a child where its journal is, and whether its producers publish by plain stores, see labs.Join.
type args struct {
	Journal string
	Joined  bool
}

// runChild is main of a child: it takes part in one history after the other until the lab
// kills it.
func runChild(text string) error {
	var a args
	if err := labs.BeChild(text, &a); err != nil {
		return err
	}
	runtime.LockOSThread()
	if a.Joined {
		_ = labs.Join() // or it is like the others
	}
	j, err := openJournal(a.Journal)
	if err != nil {
		return err
	}
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // of this thread, which stays the main one
	for {
		j.Await(told, j.Get(reached)+1, labs.ChildLimit)
		c := client{j: j, history: j.Get(told) / phases}
		if err := c.takePart(); err != nil {
			return err
		}
	}
}

// client is a child in a history.
type client struct {
	j       *journal
	history uint64
	part
	rng     *rand.Rand
	refused bool // the last call found nothing, or no room
	nothing bool // the last call of a consumer found nothing
	revoked bool // the last call has said that the producer has lost a claim
	left    int  // calls
	victim

	producer *shmring.Producer
	consumer *shmring.Consumer
	claim    *shmring.Claim // of a producer
	claimed  uint8          // for this message; 0: none
	claimLen int
	sent     uint8 // messages, tried ones included
	buffer   []byte
	loans    []shmring.Message // all that TryNext returned
}

// takePart is one history.
func (c *client) takePart() error {
	if err := c.part.get(c.j); err != nil {
		return err
	}
	if c.Slow == 0 {
		pin(c.Client)
		defer unpin()
	}
	c.rng = rand.New(rand.NewPCG(c.Seed, uint64(c.Client)))
	c.buffer = make([]byte, c.Geometry.Slots*c.Geometry.SlotSize)
	if !c.Late {
		if err := c.open(); err != nil {
			return err
		}
	}
	if err := c.prepare(); err != nil {
		return err
	}
	c.reach(phaseOpen)
	c.await(phaseRun)
	for machine.Monotonic() < int64(c.j.Get(start)) {
	}
	if c.Late {
		if err := c.openLate(); err != nil {
			return err
		}
	}
	for i := range c.Ops {
		c.left = c.Ops - i
		c.pace(i)
		call := c.produce
		if c.Consumer {
			call = c.consume
		}
		if err := call(); err != nil {
			return err
		}
	}
	if c.claimed != 0 {
		c.finishClaim()
	}
	c.expire()
	c.reach(phaseRun)
	if c.await(phaseEmpty); c.j.Get(told) == phaseOf(c.history, phaseEmpty) {
		c.empty()
		c.reach(phaseEmpty)
	}
	c.await(phaseClose)
	err := c.close()
	c.reach(phaseClose)
	return err
}

func (c *client) open() (err error) {
	ctx := context.Background()
	if c.Consumer {
		c.consumer, err = shmring.OpenConsumer(ctx, c.Ring, c.options())
	} else {
		c.producer, err = shmring.OpenProducer(ctx, c.Ring, c.options())
	}
	return err
}

// openLate is open as a call of the history.
func (c *client) openLate() error {
	op := spec.Join
	if c.Consumer {
		op = spec.Open
	}
	c.begin(op, event{})
	err := c.open()
	if err == nil {
		c.end(nil, event{})
	}
	return err
}

func (c *client) close() error {
	if c.Consumer {
		return c.consumer.Close()
	}
	return c.producer.Close()
}

func (c *client) reach(phase int) { c.j.Set(reached, phaseOf(c.history, phase)) }

func (c *client) await(phase int) {
	c.j.Await(told, phaseOf(c.history, phase), labs.ChildLimit)
}

// pace comes before a call: it lets others go first, by chance.
func (c *client) pace(i int) {
	if i == c.PauseAt {
		c.j.Await(resume, c.history, labs.ChildLimit)
	}
	if c.armAt(i) {
		return
	}
	switch n := c.rng.IntN(16); {
	case n < 4:
	case c.Slow == 0:
		busyFor(time.Duration(c.rng.IntN(400)))
	case n < 8 && !c.refused:
		busyFor(time.Duration(c.rng.IntN(2000 * c.Slow)))
	default:
		clock.SleepUntil(machine.Monotonic() + int64(c.rng.IntN(20_000*c.Slow)))
	}
	c.refused = false
}

// rejoin closes a producer's handle and opens another. A claim that is open then is lost.
func (c *client) rejoin() error {
	c.revoked, c.claimed = false, 0
	c.begin(spec.Leave, event{})
	if err := c.producer.Close(); err != nil && !errors.Is(err, shmring.ErrRevoked) {
		return err
	}
	c.end(nil, event{})
	return c.openLate()
}

// busyFor uses the processor.
func busyFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}

// begin writes down that a call begins now.
func (c *client) begin(op spec.Op, e event) {
	e.what, e.op = began, uint8(op)
	e.at = machine.Monotonic()
	c.j.add(e)
}

// end writes down that a call has ended, and with what.
func (c *client) end(err error, e event) {
	c.endAt(machine.Monotonic(), err, e)
}

func (c *client) endAt(at int64, err error, e event) {
	e.what, e.at = ended, at
	var stream *shmring.StreamError
	switch {
	case err == nil:
		e.answer = uint8(spec.OK)
	case err == shmring.ErrEmpty:
		c.refused, c.nothing = true, true
		e.answer = uint8(spec.Empty)
	case err == shmring.ErrFull:
		c.refused = true
		e.answer = uint8(spec.Full)
	case err == shmring.ErrContended:
		e.answer = uint8(spec.Contended)
	case errors.Is(err, shmring.ErrRevoked):
		c.revoked = true
		e.answer = uint8(spec.Revoked)
	case errors.Is(err, shmring.ErrNotStalled):
		e.answer = uint8(spec.NotStalled)
	case errors.Is(err, shmring.ErrBusy):
		e.answer = uint8(spec.Busy)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.refused = true
		e.answer = uint8(spec.TimedOut)
	case errors.As(err, &stream):
		e.answer = uint8(spec.Told)
	default:
		e.what = strange
		fmt.Fprintln(os.Stderr, err)
	}
	c.j.add(e)
}
