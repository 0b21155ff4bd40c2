// Protobuf sends protocol buffers through a ring: they are marshalled straight into the memory in which the
// consumer reads them.
//
//	go run ./protobuf send COUNT
//	go run ./protobuf receive
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"google.golang.org/protobuf/proto"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/examples/services/protobuf/trade"
)

const (
	ring = "protobuf-trades"
	kind = 1 // of messages that hold a trade.Trade
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errors.New("usage: protobuf send COUNT | protobuf receive")
	switch {
	case len(os.Args) == 3 && os.Args[1] == "send":
		var count int
		if count, err = strconv.Atoi(os.Args[2]); err == nil {
			err = send(ctx, count)
		}
	case len(os.Args) == 2 && os.Args[1] == "receive":
		err = receive(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func send(ctx context.Context, count int) error {
	p, err := shmring.OpenProducer(ctx, ring, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	for i := range count {
		t := &trade.Trade{Number: uint64(i), Price: 1.5, Symbol: "GO", Note: make([]byte, i)}
		if err := sendInPlace(ctx, p, kind, t); err != nil {
			return err
		}
	}
	return nil
}

// sendInPlace sends a message that nobody changes meanwhile. Errors: those of Claim, *shmring.SizeError if it is too
// long among them, and what marshalling says.
func sendInPlace(ctx context.Context, p *shmring.Producer, kind uint16, m proto.Message) error {
	n := proto.Size(m) // which m keeps, so that it is measured once
	claim, err := p.Claim(ctx, n)
	if err != nil {
		return err
	}
	defer claim.Abort() // does nothing after Commit
	// With that capacity what does not fit goes elsewhere, and not behind the claim.
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(claim.Bytes()[:0:n], m)
	if err != nil {
		return err
	}
	if len(b) != n {
		return fmt.Errorf("a message of %d bytes has become one of %d: somebody changes it", n, len(b))
	}
	claim.SetKind(kind)
	return claim.Commit()
}

func receive(ctx context.Context) error {
	c, err := shmring.OpenConsumer(ctx, ring, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	var t trade.Trade
	for m, err := range c.All(ctx) {
		if err != nil {
			return err
		}
		if m.Kind() != kind {
			continue // of somebody who sends something else
		}
		// Strings and bytes of t are copies: they may be kept when the message is released.
		if err := proto.Unmarshal(m.Bytes(), &t); err != nil {
			return fmt.Errorf("message %v: %w", m.Position(), err)
		}
		fmt.Println(t.Number, t.Price, t.Symbol, len(t.Note))
	}
	return nil
}
