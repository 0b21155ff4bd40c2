// Command manyrings serves any number of rings with one goroutine, until each has ended:
//
//	manyrings RING...
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/shmring/shmring"
)

// most is how many messages a ring may deliver before it is the next one's turn.
const most = 16

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: manyrings RING...")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	poller, err := shmring.NewPoller(nil)
	if err != nil {
		return err
	}
	defer poller.Close()
	for _, name := range names {
		// The rings need not have producers yet, so they are made here if need be.
		c, err := shmring.OpenConsumer(ctx, name, &shmring.Options{Mode: shmring.ModeOpenOrCreate})
		if err != nil {
			return err
		}
		defer c.Close()
		if err := poller.Add(c); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	for poller.Len() > 0 {
		c, err := poller.Wait(ctx)
		if err != nil {
			return err
		}
		if err := serve(poller, c); err != nil {
			return err
		}
	}
	return nil
}

// serve takes some of what a ring has.
func serve(poller *shmring.Poller, c *shmring.Consumer) error {
	_, err := c.TryDrain(most, func(m shmring.Message) error {
		_, err := fmt.Printf("%s: %s\n", c.Info().Name, m.Bytes())
		return err
	})
	switch {
	case err == nil, err == shmring.ErrEmpty:
	case err == io.EOF:
		fmt.Printf("%s has ended\n", c.Info().Name)
		poller.Remove(c)
	case errors.Is(err, shmring.ErrPeerDead): // a successor may come
		fmt.Fprintln(os.Stderr, err)
	default:
		return err
	}
	return nil
}
