package ring

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
)

// A consumer that finds the ring dry after every message asks for records with lines of their own, and
// gets them; one that finds many at a time does not. Batches lie as close as they can.
func TestConsumerAsksForEach(t *testing.T) {
	for name, looks := range map[string]func(*testing.T, *Consumer){
		"waits": func(t *testing.T, c *Consumer) { require.False(t, c.awaitAtOnce()) },
		"looks": func(t *testing.T, c *Consumer) {
			for range 5 { // the same dryness, however often it is seen
				_, err := c.TryReceive(nil)
				require.ErrorIs(t, err, ErrEmpty)
			}
		},
		"looks in place, and waits": func(t *testing.T, c *Consumer) {
			for range 2 {
				_, err := c.TryNext()
				require.ErrorIs(t, err, ErrEmpty)
				require.False(t, c.awaitAtOnce())
			}
		},
	} {
		t.Run(name, func(t *testing.T) { asksForEach(t, looks) })
	}
}

func asksForEach(t *testing.T, findsDry func(*testing.T, *Consumer)) {
	v, p, c := pair(t, layout.SPSC, 512)
	buf := make([]byte, 64)
	asks := func() bool { return v.Hot.DataBell.Load()&layout.BellEach != 0 }
	round := func(messages int) {
		for range messages {
			require.NoError(t, p.TrySend(make([]byte, 8)))
		}
		for range messages {
			_, err := c.TryReceive(buf)
			require.NoError(t, err)
		}
		findsDry(t, c)
	}
	next := func() uint64 { // where the record behind one of 8 bytes begins
		begin := p.pos
		round(1)
		return p.pos - begin
	}
	for range 3 {
		for i := 0; !asks(); i++ {
			require.LessOrEqual(t, i, 2*eachAfter)
			round(1)
		}
		round(1) // the producer sees it behind its next message, which begins no line
		round(1)
		require.Zero(t, p.pos%layout.LineAlign)
		require.EqualValues(t, layout.LineAlign, next())
		begin := p.pos
		_, err := p.TrySendBatch([][]byte{make([]byte, 8), make([]byte, 8)})
		require.NoError(t, err)
		require.EqualValues(t, 32, p.pos-begin)
		for range 2 {
			_, err := c.TryReceive(buf)
			require.NoError(t, err)
		}
		for i := 0; asks(); i++ {
			require.LessOrEqual(t, i, 2*eachAfter)
			round(5)
		}
		round(5)
		require.EqualValues(t, 16, next())
	}
}
