package ring_test

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/internal/membarrier"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// skipRace is producers that send for their lives, and stall now and then, and somebody who gives up the newest claim
// over and over.
type skipRace struct {
	*rig
	over          atomic.Bool
	plain, failed atomic.Int64 // messages sent by plain stores; errors that cannot be
	mu            sync.Mutex
	sent, revoked map[uint64]bool
	skipped       int
	received      map[uint64]int
}

// What was sent comes once, what was revoked never, and each claim that was given up was revoked.
func TestForceSkipRaces(t *testing.T) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		joined, err := membarrier.System{}.Join()
		if err != nil {
			t.Skip(err)
		}
		if joined {
			break
		}
		require.True(t, time.Now().Before(deadline))
	}
	defer ring.JoinAfterSlots(64)()
	r := &skipRace{rig: newRig(t, memories[len(memories)-1], layout.Config{Kind: layout.MPSC, Slots: 64, SlotSize: 64}),
		sent: map[uint64]bool{}, revoked: map[uint64]bool{}, received: map[uint64]int{}}
	var producers sync.WaitGroup
	for id := range uint64(2) {
		producers.Go(func() { r.produce(id) })
	}
	c := r.fenced()
	consumed := make(chan error, 1)
	left := make(chan struct{})
	go func() { consumed <- r.consume(c, left) }()
	exits := make(chan struct{})
	go r.threadsEnd(exits)
	r.skip(t, time.Second, 20*time.Second)
	r.over.Store(true)
	<-exits
	producers.Wait()
	close(left)
	require.NoError(t, <-consumed)
	require.Zero(t, r.failed.Load())
	t.Logf("%d sent, %d of them by plain stores, %d revoked", len(r.sent), r.plain.Load(), len(r.revoked))
	for id := range r.revoked {
		require.Zero(t, r.received[id], "%#x was revoked", id)
	}
	for id, times := range r.received {
		require.True(t, r.sent[id] && times == 1, "%#x: %d times", id, times)
	}
	for id := range r.sent {
		require.Equal(t, 1, r.received[id], "%#x was sent", id)
	}
	require.Equal(t, r.skipped, len(r.revoked))
	require.NotEmpty(t, r.revoked)
	require.Equal(t, ring.PlainStores, r.plain.Load() > 0)
}

// fenced is the ring's consumer, with the barriers of the system.
func (r *skipRace) fenced() *consumer {
	h, v, cfg := r.process()
	cfg.Barrier = membarrier.System{}
	c, err := ring.NewConsumer(v, cfg)
	require.NoError(r.t, err)
	return &consumer{c, h, v}
}

func (r *skipRace) produce(id uint64) {
	rng := rand.New(rand.NewPCG(id, 1))
	msg := make([]byte, 8)
	for seq := id << 56; !r.over.Load(); {
		h, v, cfg := r.process()
		cfg.Barrier = membarrier.System{}
		p, err := ring.NewProducer(v, cfg)
		if err != nil {
			r.failed.Add(1)
			return
		}
		for ; !errors.Is(err, ring.ErrRevoked) && !r.over.Load(); seq++ {
			binary.NativeEndian.PutUint64(msg, seq)
			plain := p.IsPlain()
			if err = p.SendBetween(msg, func() {
				if rng.IntN(64) == 0 {
					runtime.Gosched() // on one processor nobody else gets in between
				}
				for range rng.IntN(200) {
					spin.Pause()
				}
				if rng.IntN(256) == 0 { // for as long as it takes to be given up
					time.Sleep(rand.N(30 * time.Millisecond))
				}
			}); err == ring.ErrNoShortWay {
				err, plain = p.Send(r.t.Context(), msg), false
			}
			r.note(seq, plain, err)
		}
		(&producer{p, h, v}).leave()
	}
}

// threadsEnd has threads of this process come and go: behind that the system's barrier may miss the processor. See
// internal/membarrier.
func (r *skipRace) threadsEnd(over chan<- struct{}) {
	defer close(over)
	for !r.over.Load() {
		done := make(chan struct{})
		go func() {
			runtime.LockOSThread() // and not unlocked: the thread ends with it
			close(done)
		}()
		<-done
		time.Sleep(time.Millisecond)
	}
}

func (r *skipRace) note(seq uint64, plain bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.sent[seq] = true
		if plain {
			r.plain.Add(1)
		}
	case errors.Is(err, ring.ErrRevoked):
		r.revoked[seq] = true
	default:
		r.failed.Add(1)
	}
}

// skip gives up the newest claim as often as it can: for so long at least, and until that has been so and plain
// stores too, which a busy machine may keep from happening.
func (r *skipRace) skip(t *testing.T, least, most time.Duration) {
	h, v, cfg := r.process()
	defer h.Close()
	cfg.Barrier = membarrier.System{}
	var newest layout.Tail
	var since time.Time
	for begun := time.Now(); time.Since(begun) < least || time.Since(begun) < most && !r.seen(); {
		read := v.Hot.ReadPos.Load()
		tail := v.Hot.Tail.Load()
		if tail != newest {
			newest, since = tail, time.Now()
		}
		if time.Since(since) < 100*time.Microsecond { // to give up takes 10 ms: one that may last
			runtime.Gosched()
			continue
		}
		_, err := ring.ForceSkip(v, cfg, tail.Pos(read)-tail.Slots())
		switch {
		case err == nil:
			r.skipped++
		case !errors.Is(err, ring.ErrNotStalled) && !errors.Is(err, ring.ErrBusy):
			require.NoError(t, err)
		}
	}
}

func (r *skipRace) seen() bool { return r.skipped > 0 && (r.plain.Load() > 0 || !ring.PlainStores) }

// consume receives until all producers have left, and then what is left.
func (r *skipRace) consume(c *consumer, left <-chan struct{}) error {
	defer c.leave()
	for buf, last := make([]byte, 8), false; ; {
		_, err := c.TryReceive(buf) // sleeps would end the promise to fence
		switch err {
		case nil:
			r.received[binary.NativeEndian.Uint64(buf)]++
			continue
		case ring.ErrEmpty, io.EOF:
		default:
			return err
		}
		runtime.Gosched()
		select {
		case <-left:
			if last {
				return nil
			}
			last = true // what was sent before they left
		default:
		}
	}
}
