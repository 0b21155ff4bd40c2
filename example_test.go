package shmring_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/shmring/shmring"
)

// Two halves of one ring. In real life they live in two processes, and either may
// start first.
func Example() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring") // examples leave nothing in /dev/shm
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir}

	p, err := shmring.OpenProducer(ctx, "greetings", opt)
	if err != nil {
		panic(err)
	}
	c, err := shmring.OpenConsumer(ctx, "greetings", opt)
	if err != nil {
		panic(err)
	}
	defer c.Close()

	p.Send(ctx, []byte("hello"))
	p.Send(ctx, []byte("world"))
	p.Close() // ends the stream

	buf := make([]byte, 64)
	for {
		n, err := c.Receive(ctx, buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(err)
		}
		fmt.Println(string(buf[:n]))
	}
	// Output:
	// hello
	// world
}

// Writing a message where the consumer will read it, without a copy.
func ExampleProducer_Claim() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	p, err := shmring.OpenProducer(ctx, "r", &shmring.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer p.Close()

	send := func(n int) error {
		claim, err := p.Claim(ctx, n)
		if err != nil {
			return err
		}
		defer claim.Abort() // does nothing after Commit
		for i := range claim.Bytes() {
			claim.Bytes()[i] = byte(i)
		}
		return claim.Commit()
	}
	fmt.Println(send(1000), p.Used(), "slots in use")
	// Output: <nil> 4 slots in use
}

// Many messages for the price of one: one record to send them, one store to release
// them.
func ExampleConsumer_Drain() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir}
	p, err := shmring.OpenProducer(ctx, "r", opt)
	if err != nil {
		panic(err)
	}
	defer p.Close()
	c, err := shmring.OpenConsumer(ctx, "r", opt)
	if err != nil {
		panic(err)
	}
	defer c.Close()

	p.SendBatch(ctx, [][]byte{[]byte("a"), []byte("bb"), []byte("ccc")})
	n, err := c.Drain(ctx, 0, func(m shmring.Message) error {
		fmt.Println(m.Position(), string(m.Bytes())) // valid until this returns
		return nil
	})
	fmt.Println(n, err)
	// Output:
	// 0.0 a
	// 16.0 bb
	// 32.0 ccc
	// 3 <nil>
}

// A loop over messages in place.
func ExampleConsumer_All() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir, Kind: shmring.KindMPSC}
	p, err := shmring.OpenProducer(ctx, "r", opt)
	if err != nil {
		panic(err)
	}
	c, err := shmring.OpenConsumer(ctx, "r", opt)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	p.Send(ctx, []byte("one"))
	p.SendKind(ctx, []byte("two"), 7)
	p.Close()
	for m, err := range c.All(ctx) {
		if err != nil {
			panic(err)
		}
		fmt.Println(string(m.Bytes()), m.Kind())
	}
	// Output:
	// one 0
	// two 7
}

// One goroutine serves several rings. Each gets its turn, however busy the others are.
func ExamplePoller() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir}

	poller, err := shmring.NewPoller(nil)
	if err != nil {
		panic(err)
	}
	defer poller.Close()
	for _, name := range []string{"a", "b", "c"} {
		p, err := shmring.OpenProducer(ctx, name, opt)
		if err != nil {
			panic(err)
		}
		c, err := shmring.OpenConsumer(ctx, name, opt)
		if err != nil {
			panic(err)
		}
		poller.Add(c)
		p.Send(ctx, []byte("from "+name))
		p.Close()
	}

	for poller.Len() > 0 {
		c, err := poller.Wait(ctx)
		if err != nil {
			panic(err)
		}
		// At most 16 messages, so that the others need not wait for long.
		_, err = c.TryDrain(16, func(m shmring.Message) error {
			fmt.Println(string(m.Bytes()))
			return nil
		})
		switch err {
		case nil, shmring.ErrEmpty:
		case io.EOF:
			poller.Remove(c)
			c.Close()
		default:
			panic(err)
		}
	}
	// Unordered output:
	// from a
	// from b
	// from c
}
