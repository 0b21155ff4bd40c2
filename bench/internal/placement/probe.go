package placement

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A probe is this many blocks of round trips, and its result the lower fifth of their means:
// who interrupts one of the two threads makes the blocks of that moment longer, and none
// shorter. All of it takes one to three milliseconds.
const (
	warmUp = 500
	blocks = 25
	trips  = 150
)

// word has a pair of cache lines to itself, which are often fetched together.
type word struct {
	_ [128]byte
	v atomic.Uint64
	_ [120]byte
}

// Probe is two threads, one on each processor, which pass a line to and fro when they are
// asked. One call at a time.
type Probe struct {
	there, back word
	ask         chan struct{}
	said        chan float64
	echo        chan uint64 // the number of the first trip
	seq         uint64      // of the last trip; the asking thread's own
}

// New starts the threads; nil, without an error, if there is nothing to find out: one
// processor, or a runtime that may use one only. The error names a processor that this
// process must not use.
func New(cpus []int) (*Probe, error) {
	if len(cpus) < 2 || cpus[0] == cpus[1] || runtime.GOMAXPROCS(0) < 2 {
		return nil, nil
	}
	p := &Probe{ask: make(chan struct{}), said: make(chan float64), echo: make(chan uint64)}
	ready := make(chan error)
	go p.ping(cpus[0], ready)
	go p.pong(cpus[1], ready)
	var failed error
	for range 2 {
		if err := <-ready; err != nil {
			failed = err
		}
	}
	if failed != nil {
		p.Close()
		return nil, failed
	}
	return p, nil
}

// Close ends the threads. A nil probe has none.
func (p *Probe) Close() {
	if p != nil {
		close(p.ask)
		close(p.echo)
	}
}

// Measure returns nanoseconds per round trip of a line. It takes a few milliseconds, on
// both processors; 0 for a nil probe.
func (p *Probe) Measure() float64 {
	if p == nil {
		return 0
	}
	p.ask <- struct{}{}
	return <-p.said
}

// settle puts the calling thread on a processor for the rest of its life: a goroutine that
// ends without unlocking takes its thread along.
func settle(cpu int) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("probe on processor %d: %w", cpu, err)
	}
	return nil
}

func (p *Probe) ping(cpu int, ready chan<- error) {
	ready <- settle(cpu)
	for range p.ask {
		p.echo <- p.seq + 1
		p.pass(warmUp)
		means := make([]float64, blocks)
		for i := range means {
			begin := time.Now()
			p.pass(trips)
			means[i] = float64(time.Since(begin)) / trips
		}
		slices.Sort(means)
		p.said <- means[blocks/5]
	}
}

// pass sends the line there and waits for it to come back, n times.
func (p *Probe) pass(n int) {
	for range n {
		p.seq++
		p.there.v.Store(p.seq)
		for p.back.v.Load() != p.seq {
		}
	}
}

// pong sends back what comes. Each trip has a number of its own, so nothing is mistaken for
// what an earlier probe left.
func (p *Probe) pong(cpu int, ready chan<- error) {
	ready <- settle(cpu)
	for first := range p.echo {
		for seq := first; seq < first+warmUp+blocks*trips; seq++ {
			for p.there.v.Load() != seq {
			}
			p.back.v.Store(seq)
		}
	}
}
