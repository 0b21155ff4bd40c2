package shmring_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/shmring/shmring"
)

// A service hands a ring to whoever connects and may have it. In real life the two halves are
// two processes. Nothing has a name but the socket, and of an abstract one nothing is in the
// file system.
func ExampleSealed() {
	defer asUsual()()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	socket := fmt.Sprintf("@example-%d", os.Getpid())

	// One process makes the ring and is its consumer.
	s, err := shmring.NewSealed(ctx, "greetings", &shmring.Options{Kind: shmring.KindMPSC})
	if err != nil {
		panic(err)
	}
	defer s.Close()
	c, err := s.OpenConsumer(ctx, nil)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		panic(err)
	}
	defer l.Close()
	go s.Serve(ctx, l, &shmring.HandOver{
		Role:      shmring.RoleProducer,
		AllowUIDs: []int{os.Getuid()}, // and nobody else, root included
	})

	// Another process takes it and is a producer.
	r, err := shmring.DialSealed(ctx, socket, &shmring.HandOver{Role: shmring.RoleProducer})
	if err != nil {
		panic(err)
	}
	p, err := r.OpenProducer(ctx, nil)
	if err != nil {
		panic(err)
	}
	r.Close() // the handle stays
	p.Send(ctx, []byte("hello"))
	p.Close()

	for {
		m, err := c.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			panic(err)
		}
		fmt.Printf("%s from %s\n", m.Bytes(), c.Info().Name)
		m.Release()
	}
	// Output: hello from memfd:greetings
}

// A service that is restarted by systemd keeps its ring, and what waits in it: it puts the file
// into systemd's file descriptor store (sd_notify FDSTORE=1), and gets it back as descriptor 3.
func ExampleSealed_File() {
	defer asUsual()()
	ctx := context.Background()
	s, err := shmring.NewSealed(ctx, "jobs", nil)
	if err != nil {
		panic(err)
	}
	p, err := s.OpenProducer(ctx, nil)
	if err != nil {
		panic(err)
	}
	p.Send(ctx, []byte("not done yet"))
	f, err := s.File() // what the store gets
	if err != nil {
		panic(err)
	}
	defer f.Close()
	p.Close()
	s.Close()

	again, err := shmring.OpenSealed(ctx, f, nil) // os.NewFile(3, "jobs") after the restart
	if err != nil {
		panic(err)
	}
	defer again.Close()
	c, err := again.OpenConsumer(ctx, nil)
	if err != nil {
		panic(err)
	}
	defer c.Close()
	buf := make([]byte, 64)
	n, err := c.Receive(ctx, buf)
	fmt.Printf("%s, %v\n", buf[:n], err)
	// Output: not done yet, <nil>
}

// asUsual takes what the gate insists on out of the environment, until the function that it
// returns is called.
func asUsual() (restore func()) {
	before := map[string]string{}
	for _, name := range []string{shmring.EnvLocks, shmring.EnvDoorbell} {
		if value, set := os.LookupEnv(name); set {
			before[name] = value
			os.Unsetenv(name)
		}
	}
	return func() {
		for name, value := range before {
			os.Setenv(name, value)
		}
	}
}
