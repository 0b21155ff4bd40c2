package counts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/membarrier"
)

// ChildCommand is the subcommand that is stepped through.
const ChildCommand = "count-child"

// operation is one call, and what has to be done before it and after it each time.
type operation struct {
	name          string
	before, after func()
	do            func()
}

// repeats is how often each is counted; the median counts. One message of 248 bytes in four asks for lines, and one in
// sixteen for room: of nine that is fewer than half wherever they begin.
const repeats = 9

// hello is what the child says before it waits.
type hello struct {
	TID    int       `json:"tid"`
	Mark   uintptr   `json:"mark"` // address of the function that is called around each operation
	Names  []string  `json:"names"`
	Allocs []float64 `json:"allocs"`
}

//go:noinline
func mark() {}

// Child does the operations. Its argument is a folder for the rings.
func Child(dir string, stdin, stdout *os.File) error {
	return besides(func() error { return child(dir, stdin, stdout) })
}

// besides calls f on another thread than the process's first: who steps through that one cannot
// be told that it was killed (see stepper.Stepper.Reap), and waits for ever.
func besides(f func() error) error {
	done := make(chan error, 1)
	go func() {
		if unix.Gettid() != unix.Getpid() {
			done <- f()
			return
		}
		runtime.LockOSThread() // so that nobody else gets here
		done <- besides(f)
	}()
	return <-done
}

func child(dir string, stdin, stdout *os.File) error {
	// All that runs from here on is this goroutine, on this thread. It is not locked to the
	// thread: the runtime would then take two threads to interrupt it, and only one will run.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	list, err := operations(dir)
	if err != nil {
		return err
	}
	// What producers ask for once they have sent much is there before they do, whoever runs when.
	for joined, err := false, error(nil); !joined && err == nil; joined, err = (membarrier.System{}).Join() {
		runtime.Gosched()
	}
	h := hello{Mark: reflect.ValueOf(mark).Pointer()}
	for _, op := range list {
		h.Names = append(h.Names, op.name)
		h.Allocs = append(h.Allocs, allocs(op))
	}
	in, out := stdin.Fd(), stdout.Fd()
	// Calls that the runtime knew of could bring us to another thread.
	h.TID = unix.Gettid()
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	writeRaw(out, data)
	waitRaw(in)
	for _, op := range list {
		for range repeats {
			op.before()
			mark()
			op.do()
			mark()
			op.after()
		}
	}
	return nil
}

func allocs(op operation) float64 {
	const n = 200
	var before, after runtime.MemStats
	for i := range 2 * n { // the first half warms up
		if i == n {
			runtime.ReadMemStats(&before)
		}
		op.before()
		op.do()
		op.after()
	}
	runtime.ReadMemStats(&after)
	return float64((after.Mallocs - before.Mallocs) / n)
}

func operations(dir string) ([]operation, error) {
	list := []operation{{"nothing", nothing, nothing, nothing}}
	for _, ring := range []struct {
		kind      shmring.Kind
		how       string
		untrusted bool
		measure   int // one message in so many
	}{
		{shmring.KindSPSC, "", false, 0}, {shmring.KindMPSC, "", false, 0},
		{shmring.KindSPSC, " untrusted", true, 0}, {shmring.KindMPSC, " untrusted", true, 0},
		{shmring.KindSPSC, " measured", false, 1 << 20}, // what it takes not to be the one
	} {
		name := ring.kind.String() + ring.how
		o := &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOrCreate, Kind: ring.kind, Prefault: true,
			WaitPolicy: shmring.WaitSpin, Untrusted: ring.untrusted, MeasureEvery: ring.measure}
		file := strings.ReplaceAll(name, " ", "-")
		p, err := shmring.OpenProducer(ctx, file, o)
		if err != nil {
			return nil, err
		}
		c, err := shmring.OpenConsumer(ctx, file, o)
		if err != nil {
			return nil, err
		}
		list = append(list, onRing(name, p, c)...)
		if !ring.untrusted && ring.measure == 0 { // fronts take each message by a call: hundreds of thousands of steps
			list = append(list, inPlace(name, p, c)...)
		}
	}
	o := &shmring.Options{Dir: dir, Kind: shmring.KindBroadcast, Prefault: true}
	p, err := shmring.OpenProducer(ctx, "broadcast", o)
	if err != nil {
		return nil, err
	}
	return append(list, onBroadcast(p)...), nil
}

// onBroadcast are the operations on a ring that nobody empties.
func onBroadcast(p *shmring.Producer) (list []operation) {
	for _, size := range []int{32, 248} {
		msg := make([]byte, size)
		list = append(list, operation{fmt.Sprintf("broadcast Send %d B", size), nothing, nothing,
			func() { must(p.Send(ctx, msg)) }})
	}
	return list
}

var ctx = context.Background()

func nothing() {}

func must(err error) {
	if err != nil {
		panic(err) // of a ring that nobody else uses: a bug
	}
}

// onRing are the operations on the ends of a ring.
func onRing(name string, p *shmring.Producer, c *shmring.Consumer) (list []operation) {
	buf := make([]byte, 256)
	receive := func() { _, err := c.Receive(ctx, buf); must(err) }
	add := func(what string, before, do, after func()) {
		list = append(list, operation{name + " " + what, before, after, do})
	}
	for _, size := range []int{32, 248} {
		msg := make([]byte, size)
		send := func() { must(p.Send(ctx, msg)) }
		add(fmt.Sprintf("Send %d B", size), nothing, send, receive)
		add(fmt.Sprintf("Receive %d B", size), send, receive, nothing)
		add(fmt.Sprintf("Claim, Commit %d B", size), nothing, func() {
			claim, err := p.Claim(ctx, size)
			must(err)
			must(claim.Commit())
		}, receive)
		add(fmt.Sprintf("Next, Release %d B", size), send, func() {
			m, err := c.Next(ctx)
			must(err)
			m.Release()
		}, nothing)
	}
	return append(list, ofMany(name, p, c)...)
}

// ofMany are those of many messages at once, and of none.
func ofMany(name string, p *shmring.Producer, c *shmring.Consumer) (list []operation) {
	batch := make([][]byte, 8)
	for i := range batch {
		batch[i] = make([]byte, 32)
	}
	handle := func(shmring.Message) error { return nil }
	drain := func() { _, err := c.Drain(ctx, 0, handle); must(err) }
	add := func(what string, before, do, after func()) {
		list = append(list, operation{name + " " + what, before, after, do})
	}
	sendBatch := func() { _, err := p.SendBatch(ctx, batch); must(err) }
	add("SendBatch 8 × 32 B", nothing, sendBatch, drain)
	add("Drain 8 × 32 B", sendBatch, drain, nothing)
	add("TryReceive, empty", nothing, func() { c.TryReceive(nil) }, nothing)
	return list
}

// inPlace are those of many messages that are read and written in place.
func inPlace(name string, p *shmring.Producer, c *shmring.Consumer) (list []operation) {
	add := func(what string, before, do, after func()) {
		list = append(list, operation{name + " " + what, before, after, do})
	}
	many := make([][]byte, 64)
	for i := range many {
		many[i] = make([]byte, 32)
	}
	sendMany := func() { _, err := p.SendBatch(ctx, many); must(err) }
	add("View 64 × 32 B", sendMany, func() {
		v := c.View()
		for range 64 {
			if !v.Next() && !v.Wait(ctx) {
				panic(v.Err())
			}
			_ = v.Bytes()[0]
		}
	}, nothing)
	add("Batch 64 × 32 B", nothing, func() {
		b, err := p.ClaimBatch(ctx, 64*40)
		must(err)
		for range 64 {
			b.Append(32)[0] = 1
		}
		must(b.Commit())
	}, func() {
		_, err := c.Drain(ctx, 0, func(shmring.Message) error { return nil })
		must(err)
	})
	return list
}
