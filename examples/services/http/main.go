// Http is an HTTP server and a client over shared memory.
//
//	go run ./http serve /tmp/http.sock
//	go run ./http get /tmp/http.sock /hello
//
// curl reaches it through a proxy: shmring proxy -listen tcp:localhost:8080 -to shm:/tmp/http.sock
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/shmring/shmring/shmnet"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "serve":
		err = serve(ctx, args[1])
	case len(args) == 3 && args[0] == "get":
		err = get(ctx, args[1], args[2])
	default:
		err = errors.New("usage: http serve SOCKET | http get SOCKET PATH")
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve answers until the context ends.
func serve(ctx context.Context, path string) error {
	l, err := shmnet.Listen(path, nil)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s from process %d\n", r.URL.Path, os.Getpid())
	})}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	fmt.Println("serving")
	if err := s.Serve(l); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// get makes one request.
func get(ctx context.Context, path, what string) error {
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return shmnet.Dial(ctx, path, nil) },
	}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://shm"+what, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(os.Stdout, answer.Body)
	return err
}
