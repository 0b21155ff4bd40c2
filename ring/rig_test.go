package ring_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// memory is where a ring lives in a test. Only heap memory shows the race detector
// what happens; only two mappings show stored addresses and private futexes.
type memory struct {
	name string
	make func(t testing.TB, size int64, format func([]byte) error) *shm.Segment
	// another is the handle of a second process.
	another func(t testing.TB, s *shm.Segment) (handle *shm.Segment, bytes []byte)
}

var memories = []memory{
	{"heap", newHeap, func(t testing.TB, s *shm.Segment) (*shm.Segment, []byte) {
		h := reopen(t, s)
		return h, h.Bytes()
	}},
	{"one mapping", newFile, func(t testing.TB, s *shm.Segment) (*shm.Segment, []byte) {
		return reopen(t, s), s.Bytes() // locks of its own, bytes in common
	}},
	{"two mappings", newFile, func(t testing.TB, s *shm.Segment) (*shm.Segment, []byte) {
		h := reopen(t, s)
		return h, h.Bytes()
	}},
}

func newHeap(t testing.TB, size int64, format func([]byte) error) *shm.Segment {
	s := shm.Heap(int(size))
	require.NoError(t, format(s.Bytes()))
	return s
}

func newFile(t testing.TB, size int64, format func([]byte) error) *shm.Segment {
	s, err := shm.Create(t.Context(), "ring", size, &shm.Options{Dir: t.TempDir()}, func(mem []byte,
		_ shm.Locks) error {
		return format(mem)
	})
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func reopen(t testing.TB, s *shm.Segment) *shm.Segment {
	h, err := s.Reopen()
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// rig is one ring in one kind of memory.
type rig struct {
	t         testing.TB
	mem       memory
	cfg       layout.Config
	seg       *shm.Segment
	spin      time.Duration
	cap       time.Duration
	skip      func(ring.SkippedClaim)
	once      bool
	park      bool
	expected  int
	stall     func(ring.StalledClaim)
	streamEnd func(ring.StreamEnd)
	producers []*producer // all there were
}

func newRig(t testing.TB, mem memory, cfg layout.Config) *rig {
	if cfg.Doorbell == 0 {
		cfg.Doorbell = layout.Futex
	}
	if cfg.Participants == 0 {
		cfg.Participants = 2
		if cfg.Kind == layout.MPSC {
			cfg.Participants = 9
		}
	}
	if cfg.MaxMessage == 0 {
		cfg.MaxMessage = cfg.Capacity()
	}
	size, err := cfg.Size()
	require.NoError(t, err)
	r := &rig{t: t, mem: mem, cfg: cfg}
	r.seg = mem.make(t, size, func(b []byte) error {
		_, err := layout.Format(b, cfg)
		return err
	})
	return r
}

// process is what one process has of the ring: a handle with locks, and a view.
func (r *rig) process() (*shm.Segment, *layout.View, ring.Config) {
	h, bytes := r.mem.another(r.t, r.seg)
	v, err := layout.Parse(bytes)
	require.NoError(r.t, err)
	data, err := doorbell.New(v.Config.Doorbell, doorbell.Target{Word: &v.Hot.DataBell})
	require.NoError(r.t, err)
	space, err := doorbell.New(v.Config.Doorbell, doorbell.Target{Word: &v.Hot.SpaceBell})
	require.NoError(r.t, err)
	lot := doorbell.NewParkingLot(h)
	r.t.Cleanup(lot.Close)
	return h, v, ring.Config{Locks: h, DataBell: data, SpaceBell: space, ParkingLot: lot, SpinFor: r.spin,
		FirstSleep: r.cap, OnSkip: r.skip, AtMostOnce: r.once, Park: r.park, OnStall: r.stall,
		OnStreamEnd: r.streamEnd, ExpectedProducers: r.expected, Identity: ring.ProcessIdentity{PID: 4711}}
}

func (r *rig) producer() *producer {
	h, v, cfg := r.process()
	p, err := ring.NewProducer(v, cfg)
	require.NoError(r.t, err)
	made := &producer{p, h, v}
	r.producers = append(r.producers, made)
	return made
}

func (r *rig) consumer() *consumer {
	h, v, cfg := r.process()
	c, err := ring.NewConsumer(v, cfg)
	require.NoError(r.t, err)
	return &consumer{c, h, v}
}

type producer struct {
	*ring.Producer
	seg  *shm.Segment
	view *layout.View
}

type consumer struct {
	*ring.Consumer
	seg  *shm.Segment
	view *layout.View
}

// die is what a kill leaves: the lock is free, nothing else has been tidied up.
func (p *producer) die() { p.seg.Close() }
func (c *consumer) die() { c.seg.Close() }

func (p *producer) leave() {
	p.Close()
	ring.Detach(p.view, p.Attachment(), layout.FateLeft, ring.Config{})
	p.seg.Close()
}

func (c *consumer) leave() {
	c.Close()
	ring.Detach(c.view, c.Attachment(), 0, ring.Config{})
	c.seg.Close()
}

// each runs a test on every kind of ring in every kind of memory.
func each(t *testing.T, f func(t *testing.T, r func(layout.Config) *rig)) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		eachMemory(t, kind, f)
	}
}

func eachMemory(t *testing.T, kind layout.Kind, f func(t *testing.T, r func(layout.Config) *rig)) {
	for _, mem := range memories {
		t.Run(fmt.Sprintf("%s/%s", kind, mem.name), func(t *testing.T) {
			f(t, func(cfg layout.Config) *rig {
				cfg.Kind = kind
				return newRig(t, mem, cfg)
			})
		})
	}
}

// eighth is a message of which eight fill an SPSC ring of 8 slots of 64 bytes.
func eighth(text string) []byte { return append([]byte(text), make([]byte, 112-len(text))...) }

// line is a message that takes a cache line of an SPSC ring, and a slot of 64 bytes of another.
func line(text string) []byte { return append([]byte(text), make([]byte, 56-len(text))...) }

// soon bounds every blocking call of a test.
func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// message makes message seq of producer id, n bytes that both sides can compute: a
// reader regenerates what it should see, so every torn or misplaced byte shows.
func message(id, seq uint64, n int) []byte {
	b := make([]byte, n)
	rng := rand.NewPCG(id, seq)
	for i := 0; i < n; i += 8 {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], rng.Uint64())
		copy(b[i:], w[:])
	}
	return b
}

// stamped is a message that can be checked without knowing its length beforehand.
func stamped(id, seq uint64, n int) []byte {
	b := message(id, seq, max(n, 20))
	binary.LittleEndian.PutUint64(b[4:], id)
	binary.LittleEndian.PutUint64(b[12:], seq)
	binary.LittleEndian.PutUint32(b, crc32.ChecksumIEEE(b[4:]))
	return b
}

func unstamp(t testing.TB, b []byte) (id, seq uint64) {
	require.GreaterOrEqual(t, len(b), 20)
	require.Equal(t, crc32.ChecksumIEEE(b[4:]), binary.LittleEndian.Uint32(b), "torn message")
	return binary.LittleEndian.Uint64(b[4:]), binary.LittleEndian.Uint64(b[12:])
}
