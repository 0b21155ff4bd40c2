package shmring_test

import (
	"bufio"
	"context"
	"fmt"
	"os"

	"github.com/shmring/shmring"
)

// Many messages with one call: they are packed into as few records as possible, which is
// what makes small messages cheap.
func ExampleProducer_SendBatch() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir}
	p, err := shmring.OpenProducer(ctx, "r", opt)
	if err != nil {
		panic(err)
	}
	defer p.Close()

	var batch [][]byte
	for i := range 100 {
		batch = append(batch, fmt.Appendf(nil, "message %d", i))
	}
	n, err := p.SendBatch(ctx, batch)
	fmt.Println(n, "sent,", err)
	fmt.Println(p.Used(), "slots in use")
	// Output:
	// 100 sent, <nil>
	// 10 slots in use
}

// A sink that is cheap only for many messages at once, such as a file that is synced or a
// database: nothing may be released before it is safe. Next leaves the moment to the
// caller: take what there is, flush, then release the last message and with it all before.
// If this process is killed before that, the next consumer gets the messages again.
func ExampleMessage_Release() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	opt := &shmring.Options{Dir: dir}
	p, err := shmring.OpenProducer(ctx, "r", opt)
	if err != nil {
		panic(err)
	}
	for i := range 5 {
		p.Send(ctx, fmt.Appendf(nil, "line %d", i))
	}
	p.Close()
	c, err := shmring.OpenConsumer(ctx, "r", opt)
	if err != nil {
		panic(err)
	}
	defer c.Close()

	const most = 3 // how many messages make a batch; less than the ring has slots
	sink := bufio.NewWriter(os.Stdout)
	for {
		m, err := c.Next(ctx) // waits for the first of a batch
		if err != nil {
			fmt.Println(err)
			return
		}
		last, n := m, 0
		for ; err == nil; m, err = c.TryNext() {
			fmt.Fprintln(sink, string(m.Bytes()))
			last = m
			if n++; n == most {
				break
			}
		}
		sink.Flush() // and Sync, or Commit
		last.Release()
		fmt.Println("-- released", n)
		if err != nil && err != shmring.ErrEmpty {
			fmt.Println(err) // io.EOF is told once
			return
		}
	}
	// Output:
	// line 0
	// line 1
	// line 2
	// -- released 3
	// line 3
	// line 4
	// -- released 2
	// EOF
}
