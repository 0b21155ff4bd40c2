package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/shmnet"
	"github.com/shmring/shmring/shmrpc"
)

// memory is where rings and sockets are.
func memory() string { return cmp.Or(os.Getenv(shmring.EnvDir), "/dev/shm") }

// way is one way of asking for an answer of the same bytes.
type way struct {
	name  string
	serve func(dir string)
	open  func(dir string, n int) (ask func(b []byte) error, end func())
}

// ways are what a call (package shmrpc) is compared with: rings alone, a connection, a Unix socket.
var ways = []way{
	{"rings, SPSC there and back", ringServer("spsc", shmring.KindSPSC), ringCaller("spsc", shmring.KindSPSC)},
	{"rings, MPSC there, SPSC back", ringServer("mpsc", shmring.KindMPSC), ringCaller("mpsc", shmring.KindMPSC)},
	{"connection", nil, connCaller("shm")},
	{"call, handler in place", rpcServer("inplace", true), rpcCaller("inplace")},
	{"call, handler on a goroutine", rpcServer("goroutine", false), rpcCaller("goroutine")},
	{"Unix socket", nil, connCaller("unix")},
}

func ringOptions(dir string, kind shmring.Kind) *shmring.Options {
	return &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOrCreate, Kind: kind, MaxMessage: 64 << 10}
}

func ringServer(name string, kind shmring.Kind) func(dir string) {
	return func(dir string) {
		ctx := context.Background()
		c, err := shmring.OpenConsumer(ctx, name+"-there", ringOptions(dir, kind))
		if err != nil {
			log.Fatal(err)
		}
		p, err := shmring.OpenProducer(ctx, name+"-back", ringOptions(dir, shmring.KindSPSC))
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := c.Receive(ctx, buf)
				var ended *shmring.StreamError
				if errors.As(err, &ended) || err == io.EOF { // the next turn has another producer
					continue
				}
				if err == nil {
					err = p.Send(ctx, buf[:n])
				}
				if err != nil {
					log.Fatal(err)
				}
			}
		}()
	}
}

func ringCaller(name string, kind shmring.Kind) func(dir string, n int) (func([]byte) error, func()) {
	return func(dir string, n int) (func([]byte) error, func()) {
		ctx := context.Background()
		p, err := shmring.OpenProducer(ctx, name+"-there", ringOptions(dir, kind))
		if err != nil {
			log.Fatal(err)
		}
		c, err := shmring.OpenConsumer(ctx, name+"-back", ringOptions(dir, shmring.KindSPSC))
		if err != nil {
			log.Fatal(err)
		}
		back := make([]byte, n)
		return func(b []byte) error {
				if err := p.Send(ctx, b); err != nil {
					return err
				}
				_, err := c.Receive(ctx, back)
				return err
			}, func() {
				c.Close()
				p.Close()
			}
	}
}

func rpcServer(name string, inPlace bool) func(dir string) {
	return func(dir string) {
		l, err := shmnet.Listen(filepath.Join(dir, name), config())
		if err != nil {
			log.Fatal(err)
		}
		s := &shmrpc.Server{InPlace: inPlace, Handler: func(_ context.Context, r *shmrpc.Request) error {
			return r.Reply(r.Bytes)
		}}
		go s.Serve(l)
	}
}

func rpcCaller(name string) func(dir string, n int) (func([]byte) error, func()) {
	return func(dir string, n int) (func([]byte) error, func()) {
		c := shmrpc.NewClient(filepath.Join(dir, name), &shmrpc.Config{Conn: config()})
		ctx, back := context.Background(), make([]byte, 0, n)
		return func(b []byte) (err error) {
			back, err = c.Call(ctx, 0, b, back[:0])
			return err
		}, func() { c.Close() }
	}
}

// connCaller uses the echo of the other measurements.
func connCaller(kind string) func(dir string, n int) (func([]byte) error, func()) {
	return func(dir string, n int) (func([]byte) error, func()) {
		var c net.Conn
		c, err := dial(kind, filepath.Join(dir, kind))
		if err == nil {
			_, err = c.Write(head(n))
		}
		if err != nil {
			log.Fatal(err)
		}
		back := make([]byte, n)
		return func(b []byte) error {
			if _, err := c.Write(b); err != nil {
				return err
			}
			_, err := io.ReadFull(c, back)
			return err
		}, func() { c.Close() }
	}
}

// measureCalls measures each way, turn by turn, beside the first.
func measureCalls(dir string, pid int) {
	for _, size := range []int{32, 4 << 10} {
		name := func(w way) string { return fmt.Sprintf("call %d bytes, %s", size, w.name) }
		res := make([]figure, len(ways))
		for range *rounds {
			for i, w := range ways {
				if strings.Contains(name(w), *cases) {
					ask, end := w.open(dir, size)
					res[i].trips(ask, make([]byte, size), pid)
					end()
				}
			}
		}
		for i, w := range ways {
			f := &res[i]
			if len(f.p50) == 0 {
				continue
			}
			ratio := ""
			if len(res[0].p50) > 0 {
				ratio = fmt.Sprintf("%.1f x", med(f.p50)/med(res[0].p50))
			}
			r := f.row(fmt.Sprintf("call %d bytes", size), w.name)
			fmt.Printf("%-46s p50 %s %8s p99 %s  %10.0f/s  cpu %6.2f us\n", name(w), spread(f.p50), ratio, spread(f.p99),
				r.Rate, r.CPU)
			rows = append(rows, r)
		}
	}
}

// trips makes round trips, one after the other.
func (f *figure) trips(ask func([]byte) error, b []byte, pid int) {
	lat := make([]time.Duration, 0, 1<<20)
	trip := func() {
		t := time.Now()
		if err := ask(b); err != nil {
			log.Fatal(err)
		}
		lat = append(lat, time.Since(t))
	}
	for range 1000 { // connections are made, and learnt whether looking pays
		trip()
	}
	lat = lat[:0]
	before, begin := cpuOf(pid)+cpuOf(os.Getpid()), time.Now()
	for time.Since(begin) < *perCase {
		trip()
	}
	f.rate = append(f.rate, float64(len(lat))/time.Since(begin).Seconds())
	f.cpu = append(f.cpu, float64(cpuOf(pid)+cpuOf(os.Getpid())-before)/1e3/float64(len(lat)))
	slices.Sort(lat)
	f.p50 = append(f.p50, float64(lat[len(lat)/2])/1e3)
	f.p99 = append(f.p99, float64(lat[len(lat)*99/100])/1e3)
}

// pinned tells a process that it has been.
const pinned = "COMPARE_PINNED"

// bind starts this process anew on one processor of those that it may use: the client on the first,
// the server on the last.
func bind() {
	if !*pin || os.Getenv(pinned) == role() {
		return
	}
	var may, one unix.CPUSet
	if err := unix.SchedGetaffinity(1, &may); err != nil { // ours may be one by now
		log.Fatal(err)
	}
	for i := range len(may) * 64 {
		if may.IsSet(i) && (one.Count() == 0 || *server != "") {
			one.Zero()
			one.Set(i)
		}
	}
	err := unix.SchedSetaffinity(0, &one)
	if err == nil {
		err = os.Setenv(pinned, role())
	}
	if err == nil {
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	log.Fatal(err)
}

func role() string {
	if *server != "" {
		return "server"
	}
	return "client"
}
