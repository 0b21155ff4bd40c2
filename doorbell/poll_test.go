package doorbell_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
)

// After a long pause naps are long, but within a process they end at once, and no limit
// is overslept. The clock is the bubble's, so a busy machine changes nothing.
func TestNapsEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := doorbell.New(layout.Poll, doorbell.Target{Word: new(atomic.Uint32)})
		require.NoError(t, err)
		for _, limit := range []time.Duration{100 * time.Millisecond, 500 * time.Microsecond} {
			begin := time.Now()
			timedOut, err := b.Sleep(0, limit, nil)
			require.NoError(t, err)
			require.True(t, timedOut)
			require.Equal(t, limit, time.Since(begin))
		}
		stop, awake := new(atomic.Uint32), make(chan time.Time)
		go func() {
			b.Sleep(0, time.Second, []*atomic.Uint32{stop})
			awake <- time.Now()
		}()
		time.Sleep(6 * time.Millisecond)
		begin := time.Now()
		b.Stop(stop)
		require.Zero(t, (<-awake).Sub(begin))
	})
}
