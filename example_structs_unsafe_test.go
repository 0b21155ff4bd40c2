package shmring_test

import (
	"context"
	"fmt"
	"os"
	"structs"
	"unsafe"

	"github.com/shmring/shmring"
)

// tick is what goes through the ring: no pointers, and fields of fixed sizes.
type tick struct {
	_      structs.HostLayout
	Time   int64
	Price  float64
	Volume uint32
	Symbol [4]byte
}

// Structs in place, without a copy on either side. The bytes of a claim and of a message
// begin at a multiple of 8, so any struct fits there whose fields need no more than that,
// which are all that Go has.
func Example_structs() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir}
	p, err := shmring.OpenProducer(ctx, "ticks", opt)
	if err != nil {
		panic(err)
	}
	c, err := shmring.OpenConsumer(ctx, "ticks", opt)
	if err != nil {
		panic(err)
	}
	defer c.Close()

	claim, err := p.Claim(ctx, int(unsafe.Sizeof(tick{})))
	if err != nil {
		panic(err)
	}
	// Assign all of it: what was in the memory before is undefined.
	*(*tick)(unsafe.Pointer(&claim.Bytes()[0])) = tick{Time: 42, Price: 1.5, Volume: 100, Symbol: [4]byte{'A', 'B'}}
	claim.Commit()
	p.Close()

	for m, err := range c.All(ctx) {
		if err != nil {
			panic(err)
		}
		if m.Len() != int(unsafe.Sizeof(tick{})) { // a peer may send anything
			continue
		}
		t := (*tick)(unsafe.Pointer(&m.Bytes()[0])) // valid for this round of the loop
		fmt.Println(t.Time, t.Price, t.Volume, string(t.Symbol[:2]))
	}
	// Output: 42 1.5 100 AB
}
