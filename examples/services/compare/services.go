package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

// serveServices serves gRPC and HTTP over every kind of connection, and returns the addresses.
func serveServices(dir string) (addrs []string) {
	for _, service := range []string{"grpc", "http"} {
		sub := dir + "/" + service
		if err := os.Mkdir(sub, 0o700); err != nil {
			log.Fatal(err)
		}
		for _, kind := range all {
			l, err := listen(kind, sub)
			if err != nil {
				log.Fatal(err)
			}
			addrs = append(addrs, l.Addr().String())
			if service == "grpc" {
				s := grpc.NewServer()
				testpb.RegisterTestServiceServer(s, interop.NewTestServer())
				go s.Serve(l)
				continue
			}
			go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				w.Write(body)
			}))
		}
	}
	return addrs
}

// callers of one service over one kind of connection: a call of n bytes there and back.
func grpcCaller(kind, addr string) (call func(n int) error, end func()) {
	conn, err := grpc.NewClient("passthrough:///x",
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return dial(kind, addr) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	client := testpb.NewTestServiceClient(conn)
	return func(n int) error {
		_, err := client.UnaryCall(context.Background(), &testpb.SimpleRequest{
			ResponseSize: int32(n), Payload: &testpb.Payload{Body: make([]byte, n)}})
		return err
	}, func() { conn.Close() }
}

func httpCaller(kind, addr string) (call func(n int) error, end func()) {
	t := &http.Transport{MaxIdleConnsPerHost: 100, DialContext: func(context.Context, string, string) (net.Conn, error) {
		return dial(kind, addr)
	}}
	client := &http.Client{Transport: t}
	return func(n int) error {
		r, err := client.Post("http://x/", "", bytes.NewReader(make([]byte, n)))
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r.Body)
		r.Body.Close()
		return err
	}, t.CloseIdleConnections
}

// measureServices measures calls, turn by turn.
func measureServices(addrs []string, pid int) {
	for s, service := range []string{"grpc", "http"} {
		for _, size := range []int{32, 4 << 10, 64 << 10} {
			for _, n := range []int{1, 8, 64} {
				name := fmt.Sprintf("%s %d bytes %d callers", service, size, n)
				if !strings.Contains(name, *cases) {
					continue
				}
				res := map[string]*figure{}
				for round := range *rounds {
					for _, i := range order(round) {
						kind := all[i]
						if res[kind] == nil {
							res[kind] = &figure{}
						}
						res[kind].calls(service, kind, addrs[3*s+i], size, n, pid)
					}
				}
				for _, kind := range all {
					if f := res[kind]; f != nil {
						r := f.row(name, kind)
						fmt.Printf("%-30s %-5s p50 %s p99 %s  %10.0f/s  cpu %6.2f us\n", name, kind, spread(f.p50), spread(f.p99),
							r.Rate, r.CPU)
						rows = append(rows, r)
					}
				}
			}
		}
	}
}

// calls makes calls from so many goroutines at once.
func (f *figure) calls(service, kind, addr string, size, n, pid int) {
	caller := grpcCaller
	if service == "http" {
		caller = httpCaller
	}
	call, end := caller(kind, addr)
	defer end()
	var mu sync.Mutex
	var lat []time.Duration
	var workers sync.WaitGroup
	for range n { // connections are made, which is not what is measured
		workers.Go(func() {
			for range 5 {
				if err := call(size); err != nil {
					log.Fatal(err)
				}
			}
		})
	}
	workers.Wait()
	before := cpuOf(pid) + cpuOf(os.Getpid())
	begin := time.Now()
	for range n {
		workers.Go(func() {
			var own []time.Duration
			for time.Since(begin) < *perCase {
				t := time.Now()
				if err := call(size); err != nil {
					log.Fatal(err)
				}
				own = append(own, time.Since(t))
			}
			mu.Lock()
			lat = append(lat, own...)
			mu.Unlock()
		})
	}
	workers.Wait()
	f.rate = append(f.rate, float64(len(lat))/time.Since(begin).Seconds())
	f.cpu = append(f.cpu, float64(cpuOf(pid)+cpuOf(os.Getpid())-before)/1e3/float64(len(lat)))
	slices.Sort(lat)
	f.p50 = append(f.p50, float64(lat[len(lat)/2])/1e3)
	f.p99 = append(f.p99, float64(lat[len(lat)*99/100])/1e3)
}
