package relay_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay"
)

// A ring on one host comes out of a ring on another: every byte, in order, once, with its kind and its end.
func TestRingToRing(t *testing.T) {
	for _, pack := range []bool{false, true} {
		for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
			t.Run(fmt.Sprintf("pack=%v/%v", pack, kind), func(t *testing.T) {
				r := newRig(t, nil)
				const n = 3000
				p := r.producer("a", shmring.Options{Kind: kind, Slots: 256})
				out, outRuns := r.out("a", relay.OutOptions{Pack: pack, UntilEnd: true, Common: relay.Common{Stream: "S"}})
				in, inRuns := r.in("b", relay.InOptions{UntilEnd: true, Durable: "d",
					Common: relay.Common{Stream: "S", Ring: shmring.Options{Kind: kind, Slots: 128}}})
				c := r.consumer("b", shmring.Options{})
				go produce(t, p, 0, n)
				consume(t, c, 0, n)
				require.NoError(t, p.Close())
				consumeEnd(t, c, io.EOF)
				require.NoError(t, outRuns.wait(t))
				require.NoError(t, inRuns.wait(t))
				require.EqualValues(t, n, out.Stats().Messages)
				require.EqualValues(t, n, in.Stats().Messages)
				require.Zero(t, out.Stats().Skipped)
				require.Zero(t, in.Stats().Again+in.Stats().Fetched)
				if pack {
					require.Less(t, out.Stats().Stored, uint64(n))
				} else {
					require.EqualValues(t, n+2, out.Stats().Stored, "with an end, and the end of all")
				}
			})
		}
	}
}
