package shm_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/shmring/shmring/shm"
)

func Example() {
	dir, err := os.MkdirTemp("", "shm-example-") // programs leave Dir empty: /dev/shm
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	opt := &shm.Options{Dir: dir}
	ctx := context.Background()

	writer, err := shm.Create(ctx, "greetings", 4096, opt, func(mem []byte, _ shm.Locks) error {
		copy(mem, "hello")
		return nil
	})
	if err != nil {
		panic(err)
	}
	// Usually in another process:
	reader, err := shm.Open(ctx, "greetings", 4096, opt)
	if err != nil {
		panic(err)
	}
	fmt.Printf("%s\n", reader.Bytes()[:5])
	copy(writer.Bytes(), "HELLO")
	fmt.Printf("%s\n", reader.Bytes()[:5])

	alive, _ := writer.TryLock(0)
	seen, _ := reader.Held(0)
	fmt.Println("locked:", alive, "seen:", seen)

	fmt.Println("busy:", errors.Is(shm.Remove(ctx, "greetings", opt), shm.ErrBusy))
	_ = writer.Close()
	_ = reader.Close()
	fmt.Println("removed:", shm.Remove(ctx, "greetings", opt) == nil)
	// Output:
	// hello
	// HELLO
	// locked: true seen: true
	// busy: true
	// removed: true
}
