package shmring_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/shmring/shmring"
)

// An observer gets what the consumer gets, takes nothing away from it, and knows the number of each
// message.
func ExampleOpenObserver() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	p, err := shmring.OpenProducer(ctx, "orders", &shmring.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	for _, text := range []string{"one", "two", "three"} {
		if err := p.Send(ctx, []byte(text)); err != nil {
			log.Fatal(err)
		}
	}
	o, err := shmring.OpenObserver(ctx, "orders", &shmring.ObserverOptions{Dir: dir, From: shmring.FromOldest})
	if err != nil {
		log.Fatal(err)
	}
	defer o.Close()
	for range 3 {
		m, err := o.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d %s, %d missed\n", m.Sequence, m.Bytes, m.Missed)
	}
	c, err := shmring.OpenConsumer(ctx, "orders", &shmring.Options{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, c.MaxMessage())
	n, err := c.Receive(ctx, buf)
	fmt.Printf("%s %v\n", buf[:n], err)
	// Output:
	// 1 one, 0 missed
	// 2 two, 0 missed
	// 3 three, 0 missed
	// one <nil>
}
