package fanout_test

import (
	"context"
	"fmt"
	"os"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fanout"
)

// Two consumers that each get everything, and one that may miss what it is too slow for.
func Example() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "shmring")
	defer os.RemoveAll(dir)
	f := fanout.New()
	defer f.Close()
	f.OnGone = func(name string, why error) { fmt.Println(name, "is gone:", why) }
	for name, policy := range map[string]fanout.Policy{"billing": fanout.Block, "archive": fanout.Block,
		"debug": fanout.Drop} {
		p, err := shmring.OpenProducer(ctx, name, &shmring.Options{Dir: dir})
		if err != nil {
			panic(err)
		}
		if err := f.Add(fanout.Target{Name: name, Producer: p, Policy: policy}); err != nil {
			panic(err)
		}
	}
	if err := f.Send(ctx, []byte("order 1")); err != nil {
		panic(err)
	}
	for _, name := range []string{"billing", "archive", "debug"} {
		c, err := shmring.OpenConsumer(ctx, name, &shmring.Options{Dir: dir})
		if err != nil {
			panic(err)
		}
		buf := make([]byte, 64)
		n, err := c.Receive(ctx, buf)
		fmt.Printf("%s: %s %v\n", name, buf[:n], err)
		c.Close()
	}
	// Output:
	// billing: order 1 <nil>
	// archive: order 1 <nil>
	// debug: order 1 <nil>
}
