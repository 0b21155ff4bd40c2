package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Program is one program. It returns its exit code. A first signal ends ctx with
// ErrInterrupted or ErrTerminated as its cause.
type Program func(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int

// Main runs a program on this process's arguments and ends the process.
func Main(name string, run Program) {
	// Without this a write to a closed pipe kills the process before it can say what
	// became of the records.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup would have it
		signal.Notify(signals, syscall.SIGHUP)
	}
	hup := &hangups{signals: signals, asked: make(chan struct{}, 1)}
	ctx = context.WithValue(ctx, hangupsKey{}, hup)
	abort := func() {
		fmt.Fprintln(os.Stderr, name+": aborted by a second signal; the next one to open the ring goes on from here")
		os.Exit(Aborted)
	}
	go (&ends{hup, cancel, abort}).follow(signals)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, Waiting(os.Stdout), Waiting(os.Stderr)))
}
