// Command hello sends its arguments through a ring, or prints what comes out of it. Either
// may be started first:
//
//	hello send one two three
//	hello receive
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/shmring/shmring"
)

// ring is the name that both have to know. Its file is /dev/shm/hello.shmring, or in the
// directory that SHMRING_DIR names.
const ring = "hello"

func main() {
	err := fmt.Errorf("usage: hello send TEXT... | hello receive")
	switch {
	case len(os.Args) > 2 && os.Args[1] == "send":
		err = send(os.Args[2:])
	case len(os.Args) == 2 && os.Args[1] == "receive":
		err = receive()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func send(texts []string) error {
	ctx := context.Background()
	p, err := shmring.OpenProducer(ctx, ring, nil) // creates the ring if there is none
	if err != nil {
		return err
	}
	for _, text := range texts {
		if err := p.Send(ctx, []byte(text)); err != nil {
			p.Close()
			return err
		}
	}
	return p.Close() // ends the stream
}

func receive() error {
	ctx := context.Background()
	c, err := shmring.OpenConsumer(ctx, ring, nil) // waits for the ring to be created
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, c.MaxMessage())
	for {
		n, err := c.Receive(ctx, buf)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Println(string(buf[:n]))
	}
}
