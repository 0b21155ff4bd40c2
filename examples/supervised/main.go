// Command supervised runs a consumer in a process of its own and starts it again when it
// dies, as systemd does with Restart=on-failure. The new worker goes on where the old one
// stopped: nothing is lost, and what the old one may have handled comes again, marked.
//
//	supervised            until SIGTERM or SIGINT
//
// It receives what examples/hello sends.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/shmring/shmring"
)

const ring = "hello" // that of examples/hello

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errors.New("usage: supervised")
	switch {
	case len(os.Args) == 1:
		err = supervise(ctx)
	case len(os.Args) == 2 && os.Args[1] == "worker":
		err = work(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pause is between the death of a worker and the start of the next.
const pause = 100 * time.Millisecond

func supervise(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for {
		worker := exec.CommandContext(ctx, self, "worker")
		worker.Stdout, worker.Stderr = os.Stdout, os.Stderr
		worker.Cancel = func() error { return worker.Process.Signal(syscall.SIGTERM) }
		worker.WaitDelay = 5 * time.Second // then it is killed
		err := worker.Run()
		if ctx.Err() != nil {
			return nil
		}
		fmt.Fprintln(os.Stderr, "worker:", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

func work(ctx context.Context) error {
	// WaitForRole: the predecessor may take a moment to be gone.
	c, err := shmring.OpenConsumer(ctx, ring, &shmring.Options{Mode: shmring.ModeOpenOrCreate, WaitForRole: true})
	if err != nil {
		return err
	}
	fmt.Printf("worker %d, took over: %v\n", os.Getpid(), c.Info().TookOver)
	for {
		m, err := c.Next(ctx)
		switch {
		case err == nil:
			fmt.Printf("%s, redelivered: %v\n", m.Bytes(), m.Redelivered())
			m.Release()
		case err == io.EOF: // others may come
		case errors.Is(err, shmring.ErrPeerDead):
			fmt.Fprintln(os.Stderr, err)
		case ctx.Err() != nil: // told to stop: the next one goes on here
			return c.Close()
		default:
			return errors.Join(err, c.Close())
		}
	}
}
