package doorbell_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
)

// After a long pause naps are long, but within a process they end at once, and no limit
// is overslept.
func TestNapsEndInTime(t *testing.T) {
	b, err := doorbell.New(layout.Flock, doorbell.Site{Word: new(atomic.Uint32)})
	require.NoError(t, err)
	timedOut, err := b.Sleep(0, 100*time.Millisecond, nil)
	require.NoError(t, err)
	require.True(t, timedOut)
	// The median: a busy machine makes some late.
	median := func(f func() time.Duration) time.Duration {
		var took []time.Duration
		for range 31 {
			took = append(took, f())
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	require.Less(t, median(func() time.Duration {
		begin := time.Now()
		b.Sleep(0, 500*time.Microsecond, nil)
		return time.Since(begin)
	}), 3*time.Millisecond, "limit")
	require.Less(t, median(func() time.Duration {
		stop, awake := new(atomic.Uint32), make(chan time.Time)
		go func() {
			b.Sleep(0, time.Second, []*atomic.Uint32{stop})
			awake <- time.Now()
		}()
		time.Sleep(6 * time.Millisecond)
		begin := time.Now()
		b.Stop(stop)
		return (<-awake).Sub(begin)
	}), time.Millisecond, "stop")
}
