package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/shmring/shmring"
)

func init() {
	roles["claim"] = claim
	roles["listen"] = listen
	roles["wait"] = wait
}

// Phases of the role claim, after those of produce.
const (
	entered = 3           // has sent its Count messages
	holding = entered + 1 // has its first claim open
)

// Words of the roles claim and listen.
const (
	turns      = extra + iota // claim: what the lab wants, see there
	ownPID                    // as the child sees itself
	grandchild                // process id of what claim has started
	looks                     // listen: how often it looked after the dead for nothing
	counted                   // listen: Stats().Skipped
	chosen                    // claim: it may begin
)

// smallest keeps a message in one slot of the rings of these modes.
const smallest = 48

// withGrandchild as args.Text makes the role claim start a process that outlives it.
const withGrandchild = "grandchild"

// ifChosen as args.Text makes the role claim wait until it is chosen: of several that were started, one is, and the
// others have not touched the ring when they are killed.
const ifChosen = "if chosen"

// claim sends Count messages. Then it takes turns, as many as the lab asks for: at
// each odd one it opens a claim of Number bytes and fills the first half, at each even
// one it commits. Phase is entered plus the turns taken.
func claim(ctx context.Context, a args, j *journal) error {
	j.Put(ownPID, uint64(os.Getpid()))
	j.Set(phase, running)
	for a.Text == ifChosen && !j.Await(chosen, 1, 20*time.Millisecond) && j.Get(command) == 0 {
	}
	o := a.options()
	o.KeepStream = true
	p, err := shmring.OpenProducer(ctx, a.Ring, o)
	if err != nil {
		return err
	}
	if a.Text == withGrandchild {
		pid, err := outlive(args{Role: "wait", Journal: a.Journal + "-grandchild"})
		if err != nil {
			return err
		}
		j.Put(grandchild, uint64(pid))
	}
	j.Set(phase, attached)
	s := &sender{p: p, a: a, j: j, most: smallest}
	seq := uint64(0)
	for ; seq < a.Count; seq++ {
		j.Put(tried, seq+1)
		if err := p.Send(ctx, s.message(seq)); err != nil {
			return err
		}
		j.Put(sent, seq+1)
	}
	j.Set(phase, entered)
	msg := make([]byte, a.Number)
	var open shmring.Claim
	for turn := uint64(1); ; turn++ {
		for !j.Await(turns, turn, 20*time.Millisecond) && j.Get(command) == 0 {
		}
		if j.Get(command) != 0 {
			open.Abort()
			return p.Close()
		}
		if turn%2 == 1 {
			if open, err = p.Claim(ctx, a.Number); err != nil {
				return err
			}
			fill(msg, a.source(), seq)
			copy(open.Bytes(), msg[:len(msg)/2])
			j.Put(tried, seq+1)
		} else {
			copy(open.Bytes(), msg)
			if err := open.Commit(); err != nil {
				return err
			}
			seq++
			j.Put(sent, seq)
		}
		j.Set(phase, entered+turn)
	}
}

// wait does nothing until it is told to stop, or for a minute.
func wait(_ context.Context, _ args, j *journal) error {
	j.Set(phase, running)
	j.Await(command, 1, time.Minute)
	return nil
}

// Flags of entries that are no messages.
const (
	entrySkipped uint32 = entryTorn << (1 + iota) // a claim was passed over: record, seq slots, index pid
	entryDead                                     // the producer is dead: index pid
	entryFailed                                   // an error that ends the consumer
)

func skipEntry(k shmring.SkippedClaim) entry {
	return entry{at: monotonic(), seq: uint64(k.Slots), record: k.Position.Record, index: uint32(k.PID),
		flags: entrySkipped}
}

func deadEntry(err *shmring.StreamError) entry {
	return entry{at: monotonic(), index: uint32(err.PID), flags: entryDead}
}

// listen receives, and calls Check whenever nothing came for a while.
func listen(ctx context.Context, a args, j *journal) error {
	j.Put(ownPID, uint64(os.Getpid()))
	o := a.options()
	o.OnSkip = func(k shmring.SkippedClaim) { j.add(skipEntry(k)) }
	c, err := shmring.OpenConsumer(ctx, a.Ring, o)
	if err != nil {
		return err
	}
	j.Set(phase, attached)
	buf := make([]byte, c.MaxMessage())
	for j.Get(command) == 0 {
		short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		n, err := c.Receive(short, buf)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			if err = c.Check(); err == nil {
				j.Put(counted, c.Stats().Skipped)
				j.Put(looks, j.Get(looks)+1)
				continue
			}
		}
		var lost *shmring.StreamError
		switch {
		case err == nil:
			j.add(hear(buf[:n]))
		case errors.As(err, &lost):
			j.add(deadEntry(lost))
		default:
			return err
		}
	}
	return c.Close()
}
