// Command fanin is a service that many producers feed, one ring for all of them:
//
//	fanin serve           until SIGTERM or SIGINT
//	fanin work COUNT      as often as you like, at the same time
//
// The service goes on when all producers have left, and when some are killed.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/shmring/shmring"
)

const ring = "fanin"

// options of both sides: whoever is first creates the ring.
var options = &shmring.Options{Mode: shmring.ModeOpenOrCreate, Kind: shmring.KindMPSC}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := fmt.Errorf("usage: fanin serve | fanin work COUNT")
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		err = serve(ctx)
	case len(os.Args) == 3 && os.Args[1] == "work":
		var count int
		if count, err = strconv.Atoi(os.Args[2]); err == nil {
			err = work(ctx, count)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func work(ctx context.Context, count int) error {
	p, err := shmring.OpenProducer(ctx, ring, options)
	if err != nil {
		return err
	}
	for i := range count {
		if err := p.Send(ctx, fmt.Appendf(nil, "%d %d", os.Getpid(), i)); err != nil {
			return errors.Join(err, p.Close())
		}
	}
	return p.Close()
}

func serve(ctx context.Context) error {
	c, err := shmring.OpenConsumer(ctx, ring, options)
	if err != nil {
		return err
	}
	fmt.Println("serving")
	for {
		_, err := c.Drain(ctx, 0, func(m shmring.Message) error {
			_, err := fmt.Println(string(m.Bytes()))
			return err // not nil: the message is not released and comes again
		})
		switch {
		case err == nil:
		case err == io.EOF: // all who were there have ended their streams
		case errors.Is(err, shmring.ErrPeerDead): // a producer was killed
			fmt.Fprintln(os.Stderr, err)
		case ctx.Err() != nil:
			fmt.Fprintf(os.Stderr, "claims of dead producers passed over: %d\n", c.Stats().Skipped)
			return c.Close()
		default:
			return errors.Join(err, c.Close())
		}
	}
}
