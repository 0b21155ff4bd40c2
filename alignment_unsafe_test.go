package shmring_test

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// The bytes of claims and messages begin at a multiple of 8, whatever their length is, on
// every kind of ring, in batches too. Claim.Bytes, Message.Bytes and doc.go promise it.
func TestAlignment(t *testing.T) {
	aligned := func(b []byte) {
		if len(b) > 0 {
			require.Zero(t, uintptr(unsafe.Pointer(&b[0]))%8, "%d bytes", len(b))
		}
	}
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots, o.SlotSize = 64, 64
		p, c := openProducer(t, &o), openConsumer(t, &o)
		take := func(n int) {
			for range n {
				m, err := c.TryNext()
				require.NoError(t, err)
				aligned(m.Bytes())
				m.Release()
			}
		}
		for size := range 300 {
			claim, err := p.TryClaim(size)
			require.NoError(t, err)
			aligned(claim.Bytes())
			claim.Shorten(size / 2)
			aligned(claim.Bytes())
			require.NoError(t, claim.Commit())
			require.NoError(t, p.TrySend(make([]byte, size)))
			take(2)
			n, err := p.TrySendBatch([][]byte{make([]byte, size), {1}, make([]byte, size/3), {2}})
			require.NoError(t, err)
			take(n)
		}
	})
}
