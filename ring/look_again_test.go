package ring_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Others that claim many slots meanwhile are no reason to refuse for a call that does not wait: only those that wait
// have a context to look at.
func TestOthersAreNoRefusal(t *testing.T) {
	const slots, much, calls = 1 << 12, 64, 100_000
	r := newRig(t, memories[0], layout.Config{Kind: layout.MPSC, Slots: slots, SlotSize: 64})
	c, other, p := r.consumer(), r.producer(), r.producer()
	claimed := func() uint64 {
		read := c.view.Hot.ReadPos.Load()
		return c.view.Hot.Tail.Load().Pos(read) - read
	}
	var over atomic.Bool
	var all sync.WaitGroup
	all.Go(func() {
		for !over.Load() {
			if claimed() > slots/2 {
				runtime.Gosched()
			} else if claim, err := other.TryClaim(64 * much); err == nil {
				assert.NoError(t, claim.Commit())
			}
		}
	})
	all.Go(func() {
		for !over.Load() {
			if _, err := c.TryDrain(0, func(ring.Message) error { return nil }); err != nil {
				runtime.Gosched()
			}
		}
	})
	refused := map[error]int{}
	for i := range calls {
		for claimed() > slots/2 {
			runtime.Gosched()
		}
		switch i % 4 {
		case 0:
			refused[p.TrySend(make([]byte, 200))]++
		case 1:
			claim, err := p.TryClaim(8)
			if refused[err]++; err == nil {
				require.NoError(t, claim.Commit())
			}
		case 2:
			_, err := p.TrySendBatch([][]byte{{1}, {2}})
			refused[err]++
		case 3:
			b, err := p.TryClaimBatch(64)
			if refused[err]++; err == nil {
				require.NoError(t, b.Commit())
			}
		}
	}
	over.Store(true)
	all.Wait()
	t.Log(refused)
	delete(refused, nil)
	delete(refused, ring.ErrFull)
	require.Empty(t, refused)
}
