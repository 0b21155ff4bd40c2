package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

func init() { roles[stepRole] = stepped }

// stepped does one operation between two marks in the journal, and is single-stepped
// from the one to the other.
func stepped(ctx context.Context, a args, j *journal) error {
	// Nothing of the runtime's own shall come in between.
	debug.SetGCPercent(-1)
	runtime.MemProfileRate = 0
	v := newVictim(a, j)
	v.stepped = true
	return aside(func() error { return v.once(ctx) })
}

// aside runs f on a thread of its own that is not the first of the process, for which
// a tracer cannot wait as for others.
func aside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- aside(f) // this goroutine keeps the first thread busy meanwhile
			return
		}
		done <- f()
	}()
	return <-done
}

// once is the operation. A consumer has handled one message before it.
func (v *victim) once(ctx context.Context) error {
	if err := v.warmUp(ctx); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	if err := v.prepare(ctx); err != nil {
		return err
	}
	if v.c != nil {
		n, err := v.c.TryReceive(v.buf[:])
		if err == nil {
			v.j.add(hear(v.buf[:n]))
		} else if expected(err) != nil {
			return err
		}
	}
	v.j.Put(extra, uint64(unix.Gettid()))
	v.j.Set(phase, attached)
	if !v.j.Await(command, 1, labs.ChildLimit) {
		return errors.New("nobody traces")
	}
	runtime.Gosched() // a new time slice: else the runtime may want to end the old one in the middle
	runtime.Breakpoint()
	v.j.Put(phase, begun)
	err := v.op.run(v, ctx)
	v.j.Put(phase, operated)
	return v.judge(err)
}

// judge makes an error of what the operation must not return, be it nil.
func (v *victim) judge(err error) error {
	var want error
	if v.refused() {
		want = v.op.refusal
	}
	if !errors.Is(err, want) {
		return fmt.Errorf("returned %v, want %v", err, want)
	}
	return nil
}

// warmUp does the operation once on a ring of its own, so that stacks have grown and
// what is found out once is known.
func (v *victim) warmUp(ctx context.Context) error {
	w := *v
	w.a.Ring += "warm"
	w.state = "empty"
	w.j = &journal{labs.OwnWords[word](words), make([]entry, scenarioSlots)}
	o := w.options()
	o.Mode, o.Kind, o.Slots, o.SlotSize = shmring.ModeCreateOnly, w.a.Kind, 64, 64
	p, err := shmring.OpenProducer(ctx, w.a.Ring, o)
	if err != nil {
		return err
	}
	w.p = p
	leave := func() error { return w.p.Close() }
	if w.a.Kind != shmring.KindBroadcast {
		o.Mode = shmring.ModeOpenOnly
		c, err := shmring.OpenConsumer(ctx, w.a.Ring, o)
		if err != nil {
			return err
		}
		w.c = c
		leave = func() error { return errors.Join(w.p.Close(), w.c.Close()) }
	}
	if w.op.attaches {
		if err := leave(); err != nil {
			return err
		}
	}
	if err := w.judge(w.op.run(&w, ctx)); err != nil {
		return err
	}
	return errors.Join(leave(), shmring.Remove(ctx, w.a.Ring, &shmring.AdminOptions{Dir: w.a.Dir}))
}
