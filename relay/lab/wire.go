//go:build linux

package main

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// link says what the way of a packet between two hosts is like.
type link struct {
	Delay time.Duration `json:"delay_ns"` // on each way
	Loss  float64       `json:"loss"`     // the part of packets that do not arrive
}

// wire takes packets from host to host, late, and not all of them. It is what tc with netem does for links between
// namespaces; this works on kernels without it, too.
type wire struct {
	link
	seed    uint64
	ends    []*end
	readers sync.WaitGroup
	writers sync.WaitGroup

	carried, dropped atomic.Uint64
}

// end is where the wire goes into a host.
type end struct {
	tun   *os.File
	cut   atomic.Bool // nothing arrives, and nothing leaves
	queue chan packet // to the host, when they are due
}

type packet struct {
	due  time.Time
	data []byte
}

// mostQueued is how many packets may be on their way to a host: what comes behind them is dropped, as everywhere.
const mostQueued = 1 << 14

func (w *wire) add(tun *os.File) {
	w.ends = append(w.ends, &end{tun: tun, queue: make(chan packet, mostQueued)})
}

func (w *wire) start() {
	for i, e := range w.ends {
		chance := rand.New(rand.NewPCG(w.seed, uint64(i)))
		w.readers.Go(func() { w.read(e, chance) })
		w.writers.Go(func() { w.write(e) })
	}
}

func (w *wire) close() {
	for _, e := range w.ends {
		e.tun.Close() // the readers end
	}
	w.readers.Wait()
	for _, e := range w.ends {
		close(e.queue)
	}
	w.writers.Wait()
}

// read takes what a host sends, until the wire is closed.
func (w *wire) read(from *end, chance *rand.Rand) {
	b := make([]byte, 1<<16)
	for {
		n, err := from.tun.Read(b)
		if err != nil {
			return
		}
		to := w.endOf(b[:n])
		if to == nil {
			continue // to nobody here
		}
		if from.cut.Load() || to.cut.Load() || w.Loss > 0 && chance.Float64() < w.Loss {
			w.dropped.Add(1)
			continue
		}
		if w.Delay == 0 {
			w.deliver(to, b[:n])
			continue
		}
		select {
		case to.queue <- packet{time.Now().Add(w.Delay), append([]byte(nil), b[:n]...)}:
		default:
			w.dropped.Add(1)
		}
	}
}

// endOf is where a packet goes: one of IP version 4, to an address of a host.
func (w *wire) endOf(p []byte) *end {
	if len(p) < 20 || p[0]>>4 != 4 {
		return nil
	}
	first := hostAddress(0)
	i := binary.BigEndian.Uint32(p[16:]) - binary.BigEndian.Uint32(first[:])
	if uint64(i) >= uint64(len(w.ends)) {
		return nil
	}
	return w.ends[i]
}

// write gives a host what is due.
func (w *wire) write(to *end) {
	for p := range to.queue {
		time.Sleep(time.Until(p.due)) // this is what is late
		if to.cut.Load() {
			w.dropped.Add(1)
			continue
		}
		w.deliver(to, p.data)
	}
}

func (w *wire) deliver(to *end, data []byte) {
	if _, err := to.tun.Write(data); err != nil { // it is being closed, or the host has no room
		w.dropped.Add(1)
		return
	}
	w.carried.Add(1)
}
