// Command calls makes calls to a server through shared memory (package shmrpc):
//
//	calls serve /tmp/calls.sock
//	calls add /tmp/calls.sock 3 4
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/shmring/shmring/shmnet"
	"github.com/shmring/shmring/shmrpc"
)

// methodAdd is the one method. Both programs know it, and its types.
const methodAdd = 1

type addRequest struct{ A, B int64 }
type addReply struct{ Sum int64 }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := errors.New("usage: calls serve SOCKET | calls add SOCKET A B")
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		err = serve(ctx, os.Args[2])
	case len(os.Args) == 5 && os.Args[1] == "add":
		err = add(ctx, os.Args[2], os.Args[3], os.Args[4])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve answers until the context ends.
func serve(ctx context.Context, path string) error {
	l, err := shmnet.Listen(path, nil)
	if err != nil {
		return err
	}
	s := &shmrpc.Server{InPlace: true, Handler: handle} // handle does not wait
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	fmt.Println("serving")
	if err := s.Serve(l); err != shmrpc.ErrServerClosed {
		return err
	}
	return nil
}

func handle(_ context.Context, r *shmrpc.Request) error {
	if r.Method != methodAdd {
		return &shmrpc.Error{Code: 1, Text: fmt.Sprint("no method ", r.Method)}
	}
	ask, err := shmrpc.Struct[addRequest](r)
	if err != nil {
		return err
	}
	return shmrpc.ReplyStruct(r, &addReply{ask.A + ask.B})
}

func add(ctx context.Context, path, a, b string) error {
	var ask addRequest
	var err, other error
	ask.A, err = strconv.ParseInt(a, 10, 64)
	ask.B, other = strconv.ParseInt(b, 10, 64)
	if err = errors.Join(err, other); err != nil {
		return err
	}
	// Adding may be done twice, so a server that is being restarted is waited for.
	c := shmrpc.NewClient(path, &shmrpc.Config{Idempotent: func(uint32) bool { return true }})
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	reply, err := shmrpc.CallStruct[addReply](ctx, c, methodAdd, &ask)
	if err == nil {
		fmt.Println(reply.Sum)
	}
	return err
}
