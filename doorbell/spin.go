package doorbell

import (
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// spinBell keeps the contract without the operating system, and without rest.
type spinBell struct{ word *atomic.Uint32 }

var _ Bell = (*spinBell)(nil)

func (b *spinBell) Kind() layout.Doorbell { return layout.Spin }

func (b *spinBell) Sleep(old uint32, limit time.Duration, stops []*atomic.Uint32) (bool, error) {
	for begin := time.Now(); b.word.Load() == old; spin.Yield() {
		if stopped(stops) {
			return false, nil
		}
		if time.Since(begin) >= limit {
			return true, nil
		}
	}
	return false, nil
}

func (b *spinBell) Wake(uint32) {}

func (b *spinBell) Stop(stop *atomic.Uint32) { stop.Store(1) }
