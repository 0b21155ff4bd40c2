package doorbell

import (
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/layout"
)

type futexBell struct{ word *atomic.Uint32 }

var _ Bell = (*futexBell)(nil)

func (b *futexBell) Kind() layout.Doorbell { return layout.Futex }

func (b *futexBell) Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (bool, error) {
	r, err := futex.Wait(b.word, old, limit, stops...)
	return r == futex.TimedOut, err
}

// Wake wakes all: a stranger that waits on the word without need must not be able
// to swallow the one wake that was meant for the sleeper. An error would mean that
// the memory is gone, which the next access to it reports better.
func (b *futexBell) Wake(uint32) { _ = futex.WakeAll(b.word) }

func (b *futexBell) Stop(stop *atomic.Uint32) { futex.Stop(stop) }
