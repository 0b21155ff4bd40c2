// Grpc is a gRPC server and a client over shared memory: grpc-go's health service, asked once.
//
//	go run ./grpc serve /tmp/grpc.sock
//	go run ./grpc check /tmp/grpc.sock
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

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
	case len(args) == 2 && args[0] == "check":
		err = check(ctx, args[1])
	default:
		err = errors.New("usage: grpc serve SOCKET | grpc check SOCKET")
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
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, health.NewServer())
	defer context.AfterFunc(ctx, s.GracefulStop)()
	fmt.Println("serving")
	return s.Serve(l)
}

// check makes one call.
func check(ctx context.Context, path string) error {
	// The kernel has told each side who the other is, and nobody else sees the memory.
	conn, err := grpc.NewClient("passthrough:///"+path, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return shmnet.Dial(ctx, path, nil)
		}))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	fmt.Println(answer.Status)
	return nil
}
