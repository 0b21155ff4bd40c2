// Command structs sends structs through a ring without a copy on either side:
//
//	structs send COUNT
//	structs receive
package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"structs"
	"unsafe"

	"github.com/shmring/shmring"
)

// tick is what goes through the ring. Both programs have to agree on it: fields of fixed
// sizes, no pointers, strings, slices or maps. Claims and messages begin at a multiple of
// 8, which is all that a field can need.
type tick struct {
	_      structs.HostLayout
	Number uint64
	Price  float64
	Volume uint32
	Symbol [4]byte
}

const (
	ring     = "ticks"
	kind     = 1 // of messages that hold a tick
	tickSize = int(unsafe.Sizeof(tick{}))
)

// tickIn returns the tick that begins where b does; nil if b does not hold one.
func tickIn(b []byte) *tick {
	if len(b) != tickSize {
		return nil
	}
	return (*tick)(unsafe.Pointer(&b[0]))
}

func main() {
	err := fmt.Errorf("usage: structs send COUNT | structs receive")
	switch {
	case len(os.Args) == 3 && os.Args[1] == "send":
		var count int
		if count, err = strconv.Atoi(os.Args[2]); err == nil {
			err = send(count)
		}
	case len(os.Args) == 2 && os.Args[1] == "receive":
		err = receive()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func send(count int) error {
	ctx := context.Background()
	p, err := shmring.OpenProducer(ctx, ring, nil)
	if err != nil {
		return err
	}
	defer p.Close()
	for i := range count {
		if err := sendTick(ctx, p, uint64(i)); err != nil {
			return err
		}
	}
	return nil
}

func sendTick(ctx context.Context, p *shmring.Producer, number uint64) error {
	claim, err := p.Claim(ctx, tickSize)
	if err != nil {
		return err
	}
	defer claim.Abort() // does nothing after Commit
	// All of it is assigned: what is in the memory before is undefined.
	*tickIn(claim.Bytes()) = tick{Number: number, Price: 1.5, Volume: 100, Symbol: [4]byte{'G', 'O'}}
	claim.SetKind(kind)
	return claim.Commit()
}

func receive() error {
	ctx := context.Background()
	c, err := shmring.OpenConsumer(ctx, ring, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	for m, err := range c.All(ctx) {
		if err != nil {
			return err
		}
		t := tickIn(m.Bytes()) // valid for this round of the loop
		if m.Kind() != kind || t == nil {
			continue // of somebody who sends something else
		}
		fmt.Println(t.Number, t.Price, t.Volume, string(t.Symbol[:2]))
	}
	return nil
}
