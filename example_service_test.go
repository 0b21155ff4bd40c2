package shmring_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/shmring/shmring"
)

// A service that many producers feed, and that outlives all of them. Neither the end of
// the streams nor the death of a producer is a reason to stop: the next call waits for
// whoever comes.
func Example_fanIn() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOrCreate, Kind: shmring.KindMPSC}
	c, err := shmring.OpenConsumer(ctx, "jobs", opt)
	if err != nil {
		panic(err)
	}

	go func() { // in real life: other processes
		for i := range 3 {
			p, err := shmring.OpenProducer(ctx, "jobs", opt)
			if err != nil {
				panic(err)
			}
			p.Send(ctx, fmt.Appendf(nil, "job %d", i))
			p.Close()
		}
	}()

	handled := 0
	for {
		_, err := c.Drain(ctx, 0, func(m shmring.Message) error {
			fmt.Println(string(m.Bytes()))
			if handled++; handled == 3 {
				stop() // in real life: a signal
			}
			return nil
		})
		switch {
		case err == nil:
		case err == io.EOF: // all producers have ended their streams; others may come
		case errors.Is(err, shmring.ErrPeerDead): // one was killed (SPSC); its successor may come
			fmt.Fprintln(os.Stderr, err)
		case errors.Is(err, context.Canceled):
			fmt.Println("stopped:", c.Close())
			return
		default: // corrupt, orphaned: the ring is of no use any more
			panic(err)
		}
	}
	// Output:
	// job 0
	// job 1
	// job 2
	// stopped: <nil>
}

// A new version of a program takes over from the old one without a gap. It starts while
// the old one runs and waits for the role, which is handed over when the old one closes:
// on the consumer's side nothing else is needed, and a producer keeps the stream open.
func Example_handOver() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir, KeepStream: true, WaitForRole: true}

	old, err := shmring.OpenProducer(ctx, "r", opt)
	if err != nil {
		panic(err)
	}
	old.Send(ctx, []byte("from version 1"))

	successor := make(chan *shmring.Producer)
	go func() { // in real life: the process of the new version
		p, err := shmring.OpenProducer(ctx, "r", opt) // waits, where ErrBusy would be returned otherwise
		if err != nil {
			panic(err)
		}
		successor <- p
	}()
	old.Close() // with KeepStream: the consumer sees no end here

	p := <-successor
	p.Send(ctx, []byte("from version 2"))
	p.CloseSend() // the end, in spite of KeepStream
	defer p.Close()

	c, err := shmring.OpenConsumer(ctx, "r", opt)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	for m, err := range c.All(ctx) {
		fmt.Println(string(m.Bytes()), err)
	}
	// Output:
	// from version 1 <nil>
	// from version 2 <nil>
}

// What happens when the ring is full: wait, wait for a while, fail, or drop.
func ExampleOptions_whenFull() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	open := func(name string, o shmring.Options) *shmring.Producer {
		o.Dir, o.Slots, o.KeepStream = dir, 8, true
		p, err := shmring.OpenProducer(ctx, name, &o)
		if err != nil {
			panic(err)
		}
		for p.TrySend(nil) == nil { // until the ring is full
		}
		return p
	}

	p := open("block", shmring.Options{})
	brief, cancel := context.WithTimeout(ctx, time.Millisecond)
	err := p.Send(brief, []byte("x"))
	cancel()
	fmt.Println("block:", errors.Is(err, context.DeadlineExceeded))
	p.Close()

	p = open("timeout", shmring.Options{SendTimeout: time.Millisecond}) // cheaper than a context for each
	err = p.Send(ctx, []byte("x"))
	fmt.Println("timeout:", errors.Is(err, os.ErrDeadlineExceeded))
	fmt.Println(err)
	p.Close()

	p = open("fail", shmring.Options{WhenFull: shmring.WhenFullFail})
	fmt.Println("fail:", p.Send(ctx, []byte("x")) == shmring.ErrFull)
	p.Close()

	p = open("drop", shmring.Options{WhenFull: shmring.WhenFullDrop})
	fmt.Println("drop:", p.Send(ctx, []byte("x")), p.Stats().Dropped)
	p.Close()
	// Output:
	// block: true
	// timeout: true
	// shmring: ring timeout: send: context deadline exceeded: send timeout
	// fail: true
	// drop: <nil> 1
}

// A producer that is alive and does not finish its claim holds up the consumer, which says
// so. Somebody who knows that the claim will not be finished gives it up.
func ExampleForceSkip() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir, Kind: shmring.KindMPSC}
	var producers [2]*shmring.Producer
	for i := range producers {
		p, err := shmring.OpenProducer(ctx, "r", opt)
		if err != nil {
			panic(err)
		}
		defer p.Close()
		producers[i] = p
	}
	hung, err := producers[0].Claim(ctx, 100) // and then its process hangs
	if err != nil {
		panic(err)
	}
	producers[1].Send(ctx, []byte("behind it"))

	c, err := shmring.OpenConsumer(ctx, "r", &shmring.Options{Dir: dir, OnStall: func(s shmring.StalledClaim) {
		fmt.Println("waiting for the claim at", s.Position, "of producer", s.Producer)
		// In real life a human being decides, and runs "shmring force-skip r POSITION".
		go shmring.ForceSkip(ctx, "r", s.Position, &shmring.AdminOptions{Dir: dir})
	}})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	m, err := c.Next(ctx)
	fmt.Println(string(m.Bytes()), err)
	m.Release()
	fmt.Println(hung.Commit() == shmring.ErrRevoked)
	// Output:
	// waiting for the claim at 0.0 of producer 1
	// behind it <nil>
	// true
}

// Two users share a ring. It is made for both of them with Perm 0660, in a directory of
// their common group that has the setgid bit (chgrp app /dev/shm/app; chmod 2770
// /dev/shm/app), so that the file belongs to that group. Whoever opens a ring that another
// user has created, other than root, says with AnyOwner that this is meant: a user who can
// write a ring can destroy it.
func ExampleOptions_twoUsers() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring") // in real life /dev/shm/app
	defer os.RemoveAll(dir)

	// User one.
	p, err := shmring.OpenProducer(ctx, "r", &shmring.Options{Dir: dir, Perm: 0o660})
	if err != nil {
		panic(err)
	}
	defer p.Close()

	// User two.
	c, err := shmring.OpenConsumer(ctx, "r", &shmring.Options{Dir: dir, AnyOwner: true})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	file, err := os.Stat(c.Info().Path)
	if err != nil {
		panic(err)
	}
	fmt.Println(file.Mode())
	// Output: -rw-rw----
}
