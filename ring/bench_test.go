package ring_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Two goroutines on two mappings of one file. Between processes the cost is the same,
// see shmring demo; here it is easy to look at with a profiler.

func benchRig(b *testing.B, kind layout.Kind, slotSize int) *rig {
	r := newRig(b, memories[2], layout.Config{Kind: kind, Slots: 8192, SlotSize: slotSize})
	r.spin = ring.SpinForever
	return r
}

func BenchmarkStream(b *testing.B) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		for _, size := range []int{8, 32, 48, 248, 1016} {
			b.Run(fmt.Sprintf("kind=%s/size=%d", kind, size), func(b *testing.B) {
				r := benchRig(b, kind, max(64, (size+63)&^63))
				p, c := r.producer(), r.consumer()
				msg := make([]byte, size)
				ctx := context.Background()
				done := make(chan struct{})
				b.SetBytes(int64(size))
				b.ResetTimer()
				go func() {
					defer close(done)
					runtime.LockOSThread()
					buf := make([]byte, size)
					for range b.N {
						if _, err := c.Receive(ctx, buf); err != nil {
							b.Error(err)
							return
						}
					}
				}()
				for range b.N {
					if err := p.Send(ctx, msg); err != nil {
						b.Fatal(err)
					}
				}
				<-done
			})
		}
	}
}

// In place on both sides.
func BenchmarkClaim(b *testing.B) {
	for _, size := range []int{32, 248} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			r := benchRig(b, layout.SPSC, 256)
			p, c := r.producer(), r.consumer()
			ctx := context.Background()
			done := make(chan struct{})
			b.ResetTimer()
			go func() {
				defer close(done)
				runtime.LockOSThread()
				for range b.N {
					m, err := c.Next(ctx)
					if err != nil {
						b.Error(err)
						return
					}
					m.Release()
				}
			}()
			for range b.N {
				w, err := p.Claim(ctx, size)
				if err != nil {
					b.Fatal(err)
				}
				w.Bytes()[0]++
				w.Commit()
			}
			<-done
		})
	}
}

func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{8, 64} {
		b.Run(fmt.Sprintf("batch=%d/size=32", n), func(b *testing.B) {
			r := benchRig(b, layout.SPSC, 256)
			p, c := r.producer(), r.consumer()
			msgs := make([][]byte, n)
			for i := range msgs {
				msgs[i] = make([]byte, 32)
			}
			buf := make([]byte, 32)
			ctx := context.Background()
			done := make(chan struct{})
			total := (b.N + n - 1) / n * n
			b.ResetTimer()
			go func() {
				defer close(done)
				for got := 0; got < total; {
					k, err := c.Drain(ctx, 0, func(m ring.Message) error { copy(buf, m.Bytes()); return nil })
					if err != nil {
						b.Error(err)
						return
					}
					got += k
				}
			}()
			for range total / n {
				if _, err := p.SendBatch(ctx, msgs); err != nil {
					b.Fatal(err)
				}
			}
			<-done
		})
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		b.Run(fmt.Sprintf("kind=%s/size=32", kind), func(b *testing.B) {
			there, back := benchRig(b, kind, 64), benchRig(b, kind, 64)
			p1, c1, p2, c2 := there.producer(), there.consumer(), back.producer(), back.consumer()
			ctx := context.Background()
			b.ResetTimer()
			go func() {
				runtime.LockOSThread()
				buf := make([]byte, 32)
				for range b.N {
					if _, err := c1.Receive(ctx, buf); err != nil {
						b.Error(err)
						return
					}
					p2.Send(ctx, buf)
				}
			}()
			buf := make([]byte, 32)
			for range b.N {
				p1.Send(ctx, buf)
				if _, err := c2.Receive(ctx, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// One goroutine, so no cache line moves: what the instructions cost.
func BenchmarkAlone(b *testing.B) {
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		r := benchRig(b, kind, 64)
		p, c := r.producer(), r.consumer()
		msg, buf := make([]byte, 32), make([]byte, 32)
		b.Run(fmt.Sprintf("kind=%s/send+receive", kind), func(b *testing.B) {
			for b.Loop() {
				p.TrySend(msg)
				c.TryReceive(buf)
			}
		})
	}
}
