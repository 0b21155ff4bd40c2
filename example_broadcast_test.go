package shmring_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/shmring/shmring"
)

// One says, and whoever wants to know listens: all of it, or only how things are by now.
func Example_broadcast() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	p, err := shmring.OpenProducer(ctx, "ticks", &shmring.Options{Dir: dir, Kind: shmring.KindBroadcast})
	if err != nil {
		log.Fatal(err)
	}
	defer p.Close()
	follower, err := shmring.OpenObserver(ctx, "ticks", &shmring.ObserverOptions{Dir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer follower.Close()
	for price := range 3 {
		if err := p.Send(ctx, fmt.Appendf(nil, "price %d", price)); err != nil { // never waits
			log.Fatal(err)
		}
	}
	for range 3 {
		m, err := follower.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d: %s\n", m.Sequence, m.Bytes)
	}
	late, err := shmring.OpenObserver(ctx, "ticks", &shmring.ObserverOptions{Dir: dir, From: shmring.FromNewest})
	if err != nil {
		log.Fatal(err)
	}
	defer late.Close()
	m, err := late.Latest(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("now: %s\n", m.Bytes)
	// Output:
	// 1: price 0
	// 2: price 1
	// 3: price 2
	// now: price 2
}
