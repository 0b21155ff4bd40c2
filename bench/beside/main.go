// Beside measures what a stream loses to those who look at it: shmring inspect, top and tap, and observers.
//
//	cd bench && go run ./beside [-size 32] [-rounds 15] [-window 300ms]
//
// A producer and a consumer run as processes of their own, by default options, on processors that the system chooses.
// In each round everything is measured once, in an order that changes, and the stream alone before and after each. What
// is printed are medians, of the ratio to the mean of those two, where they agree.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/shmring/shmring"
)

const ringName = "beside"

const (
	settle    = 200 * time.Millisecond // how long things run before they are measured
	mostDrift = 1.2                    // between the stream alone before and after
)

// beside is who looks, how many of them, and as what they run: arguments of shmring, or of this program.
type beside struct {
	name  string
	count int
	self  bool
	args  []string
}

var all = []beside{
	{name: "inspect -watch", count: 1, args: []string{"inspect", "-watch", ringName}},
	{name: "top", count: 1, args: []string{"top", "-json"}},
	{name: "an observer", count: 1, self: true, args: []string{"observe"}},
	{name: "an observer that looks each ms", count: 1, self: true, args: []string{"glance"}},
	{name: "tap, as text", count: 1, args: []string{"tap", ringName}},
	{name: "ten observers", count: 10, self: true, args: []string{"observe"}},
	{name: "ten that look each ms", count: 10, self: true, args: []string{"glance"}},
}

func main() {
	size := flag.Int("size", 32, "bytes of a message")
	rounds := flag.Int("rounds", 15, "how often")
	window := flag.Duration("window", 300*time.Millisecond, "how long each is measured")
	flag.Parse()
	err := error(nil)
	if flag.NArg() == 2 {
		err = child(flag.Arg(0), flag.Arg(1), *size)
	} else {
		err = measure(*size, *rounds, *window)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "beside:", err)
		os.Exit(1)
	}
}

// child is a process of the measurement.
func child(what, dir string, size int) error {
	ctx := context.Background()
	o := shmring.Options{Dir: dir, Slots: 4096, SlotSize: 1024, MaxMessage: 64 << 10}
	switch what {
	case "produce":
		p, err := shmring.OpenProducer(ctx, ringName, &o)
		if err != nil {
			return err
		}
		for msg := make([]byte, size); ; {
			if err := p.Send(ctx, msg); err != nil {
				return err
			}
		}
	case "consume":
		return consume(ctx, &o)
	}
	ob, err := shmring.OpenObserver(ctx, ringName, &shmring.ObserverOptions{Dir: dir})
	for err == nil {
		if _, err = ob.Next(ctx); what == "glance" {
			time.Sleep(time.Millisecond)
		}
	}
	return err
}

// consume answers each byte of its input with how many messages it has had.
func consume(ctx context.Context, o *shmring.Options) error {
	c, err := shmring.OpenConsumer(ctx, ringName, o)
	if err != nil {
		return err
	}
	asked := make(chan struct{})
	go func() {
		for b := make([]byte, 1); ; asked <- struct{}{} {
			if _, err := os.Stdin.Read(b); err != nil {
				os.Exit(0)
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for n := uint64(0); ; n++ {
		if _, err := c.Receive(ctx, buf); err != nil {
			return err
		}
		if n%256 == 0 {
			select {
			case <-asked:
				os.Stdout.Write(binary.LittleEndian.AppendUint64(nil, n))
			default:
			}
		}
	}
}

// bench is a stream that runs.
type bench struct {
	dir, self, shmring string
	size               int
	in                 io.Writer
	out                io.Reader
	children           []*exec.Cmd
}

func command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// own is this program as a child.
func (b *bench) own(what string) *exec.Cmd {
	return command(b.self, "-size", fmt.Sprint(b.size), what, b.dir)
}

func measure(size, rounds int, window time.Duration) (err error) {
	runtime.LockOSThread() // the parent that Pdeathsig means
	b := &bench{size: size}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("/dev/shm", "beside-*"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.shmring = filepath.Join(b.dir, "shmring")
	build := exec.Command("go", "build", "-o", b.shmring, "../cmd/shmring")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building the programs, in the folder bench: %w", err)
	}
	defer func() { b.stop(b.children) }()
	if err := b.stream(); err != nil {
		return err
	}
	alone, found := []float64{}, make([][]float64, len(all))
	before, err := b.rate(window)
	if err != nil {
		return err
	}
	for range rounds {
		for _, i := range rand.Perm(len(all)) {
			rate, err := b.beside(&all[i], window)
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
			after, err := b.rate(window)
			if err != nil {
				return err
			}
			// A virtual machine's host may move its processors meanwhile.
			if max(before, after) < mostDrift*min(before, after) {
				found[i] = append(found[i], 2*rate/(before+after))
			}
			alone = append(alone, after)
			before = after
		}
	}
	fmt.Printf("%d processors, %d bytes, windows of %v\n", runtime.NumCPU(), size, window)
	fmt.Printf("%-32s %.1f ns a message (quartiles %.1f to %.1f)\n", "beside nothing",
		1e9/quantile(alone, 2), 1e9/quantile(alone, 3), 1e9/quantile(alone, 1))
	for i := range all {
		if f := found[i]; len(f) > 0 {
			fmt.Printf("%-32s %.3f of that (quartiles %.3f to %.3f, %d of %d)\n", all[i].name, quantile(f, 2), quantile(f, 1),
				quantile(f, 3), len(f), rounds)
		}
	}
	return nil
}

// stream starts the producer and the consumer.
func (b *bench) stream() (err error) {
	consumer, producer := b.own("consume"), b.own("produce")
	if b.in, err = consumer.StdinPipe(); err != nil {
		return err
	}
	if b.out, err = consumer.StdoutPipe(); err != nil {
		return err
	}
	for _, c := range []*exec.Cmd{consumer, producer} {
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			return err
		}
		b.children = append(b.children, c)
	}
	_, err = b.count()
	return err
}

// count asks the consumer.
func (b *bench) count() (uint64, error) {
	if _, err := b.in.Write([]byte{1}); err != nil {
		return 0, err
	}
	var n [8]byte
	_, err := io.ReadFull(b.out, n[:])
	return binary.LittleEndian.Uint64(n[:]), err
}

// rate is in messages a second.
func (b *bench) rate(window time.Duration) (float64, error) {
	time.Sleep(settle)
	begin := time.Now()
	from, err := b.count()
	if err != nil {
		return 0, err
	}
	time.Sleep(window)
	to, err := b.count()
	return float64(to-from) / time.Since(begin).Seconds(), err
}

// beside measures while somebody looks.
func (b *bench) beside(s *beside, window time.Duration) (rate float64, err error) {
	var running []*exec.Cmd
	defer func() { err = errors.Join(err, b.stop(running)) }()
	for range s.count {
		cmd := command(b.shmring, slices.Insert(slices.Clone(s.args), 1, "-dir", b.dir)...)
		if s.self {
			cmd = b.own(s.args[0])
		}
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		running = append(running, cmd)
	}
	return b.rate(window)
}

// stop ends processes, of which none may have ended before.
func (b *bench) stop(list []*exec.Cmd) (err error) {
	for _, c := range list {
		killed := c.Process.Kill()
		if gone := c.Wait(); killed != nil {
			err = errors.Join(err, fmt.Errorf("%s has ended by itself: %w", c.Args[len(c.Args)-1], gone))
		}
	}
	return err
}

// quantile is a quarter, a half or three quarters of the way.
func quantile(list []float64, quarters int) float64 {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)*quarters/4]
}
