package shmring_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// What Options.Untrusted costs, on one goroutine: docs/COST.md.
func BenchmarkUntrusted(b *testing.B) {
	msg, buf, batch := make([]byte, 32), make([]byte, 32), make([][]byte, 8)
	for i := range batch {
		batch[i] = msg
	}
	handle := func(shmring.Message) error { return nil }
	works := map[string]func(b *testing.B, p *shmring.Producer, c *shmring.Consumer){
		"Send,Receive": func(b *testing.B, p *shmring.Producer, c *shmring.Consumer) {
			for b.Loop() {
				_ = p.Send(b.Context(), msg)
				_, _ = c.Receive(b.Context(), buf)
			}
		},
		"Claim,Commit,Next,Release": func(b *testing.B, p *shmring.Producer, c *shmring.Consumer) {
			for b.Loop() {
				if claim, err := p.Claim(b.Context(), 32); err == nil {
					copy(claim.Bytes(), msg)
					_ = claim.Commit()
				}
				m, _ := c.Next(b.Context())
				m.Release()
			}
		},
		"Send,Drain": func(b *testing.B, p *shmring.Producer, c *shmring.Consumer) {
			for b.Loop() {
				_ = p.Send(b.Context(), msg)
				_, _ = c.Drain(b.Context(), 0, handle)
			}
		},
		"SendBatch,Drain": func(b *testing.B, p *shmring.Producer, c *shmring.Consumer) {
			for b.Loop() {
				_, _ = p.SendBatch(b.Context(), batch)
				_, _ = c.Drain(b.Context(), 0, handle)
			}
		},
	}
	for work, do := range works {
		for trust, untrusted := range map[string]bool{"trusted": false, "untrusted": true} {
			for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
				o := shmring.Options{Dir: ringDir(b), Kind: kind, Untrusted: untrusted, WaitPolicy: shmring.WaitSpin}
				p, c := openProducer(b, &o), openConsumer(b, &o)
				b.Run(work+"/"+kind.String()+"/"+trust, func(b *testing.B) { do(b, p, c) })
				require.NoError(b, p.Check())
			}
		}
	}
}
