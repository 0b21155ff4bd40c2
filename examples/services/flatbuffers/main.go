// Flatbuffers sends FlatBuffers through a ring: they are built in the memory in which the consumer reads
// them, field by field, and nothing is copied on either side.
//
//	go run ./flatbuffers send COUNT
//	go run ./flatbuffers receive
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	flatbuffers "github.com/google/flatbuffers/go"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/examples/services/flatbuffers/trade"
)

const (
	ring = "flatbuffers-trades"
	kind = 1 // of messages that hold a trade.Trade
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errors.New("usage: flatbuffers send COUNT | flatbuffers receive")
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

// order is what a program has of a trade.
type order struct {
	number uint64
	price  float64
	symbol string
	note   []byte
}

// room is how many bytes an order takes at most: what it holds, and for its table and the fields' places at
// most so many. Fields lie at multiples of 8 from the end on, so it is one.
func (o *order) room() int { return (96 + len(o.symbol) + len(o.note) + 7) &^ 7 }

// put puts an order into a builder, and returns where its table is.
func (o *order) put(b *flatbuffers.Builder) flatbuffers.UOffsetT {
	symbol, note := b.CreateString(o.symbol), b.CreateByteVector(o.note)
	trade.TradeStart(b)
	trade.TradeAddNumber(b, o.number)
	trade.TradeAddPrice(b, o.price)
	trade.TradeAddSymbol(b, symbol)
	trade.TradeAddNote(b, note)
	return trade.TradeEnd(b)
}

func send(ctx context.Context, count int) error {
	p, err := shmring.OpenProducer(ctx, ring, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	var b flatbuffers.Builder
	for i := range count {
		o := &order{number: uint64(i), price: 1.5, symbol: "GO", note: make([]byte, i)}
		if err := sendInPlace(ctx, p, &b, o); err != nil {
			return err
		}
	}
	return nil
}

func sendInPlace(ctx context.Context, p *shmring.Producer, b *flatbuffers.Builder, o *order) error {
	claim, err := p.Claim(ctx, o.room())
	if err != nil {
		return err
	}
	defer claim.Abort() // does nothing after Commit
	if !build(b, claim.Bytes(), o.put) {
		return fmt.Errorf("an order takes more than %d bytes", o.room())
	}
	claim.SetKind(kind)
	return claim.Commit()
}

// build builds a table in room, whose length and address are multiples of 8. FlatBuffers grow from the end of their
// memory to its beginning. What is left there is zeros, behind a first word that says where the table is, as in every
// FlatBuffer: so whoever reads room from its beginning finds one, in any language. false: it does not fit, and
// room has undefined content.
func build(b *flatbuffers.Builder, room []byte, put func(*flatbuffers.Builder) flatbuffers.UOffsetT) bool {
	b.Bytes = room[:len(room):len(room)] // what does not fit goes elsewhere, and not behind the room
	b.Reset()
	table := put(b)
	gap := len(room) - int(b.Offset())
	if len(b.Bytes) != len(room) || gap < flatbuffers.SizeUOffsetT {
		return false
	}
	clear(room[flatbuffers.SizeUOffsetT:gap]) // old messages lie there
	binary.LittleEndian.PutUint32(room, uint32(len(room))-uint32(table))
	return true
}

func receive(ctx context.Context) error {
	c, err := shmring.OpenConsumer(ctx, ring, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	for m, err := range c.All(ctx) {
		if err != nil {
			return err
		}
		if m.Kind() != kind {
			continue // of somebody who sends something else
		}
		line, err := show(m.Bytes())
		if err != nil {
			return fmt.Errorf("message %v: %w", m.Position(), err)
		}
		fmt.Println(line)
	}
	return nil
}

// show reads a trade where it lies. FlatBuffers check nothing, and panic where an offset leads out of the
// message: here that is an error.
func show(message []byte) (line string, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			err = fmt.Errorf("not a trade: %w", r)
		default:
			panic(r)
		}
	}()
	t := trade.GetRootAsTrade(message, 0)
	// Symbol and NoteBytes are in the ring: valid for this round of the loop.
	return fmt.Sprint(t.Number(), " ", t.Price(), " ", string(t.Symbol()), " ", len(t.NoteBytes())), nil
}
