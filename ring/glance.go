//go:build !race

package ring

import (
	"sync/atomic"

	"github.com/shmring/shmring/layout"
)

// glance is load for those who look at a ring from outside, while its records come and go under
// their eyes: they look again, or leave it at that.
func (a *area) glance(pos uint64) layout.Record { return a.load(pos) }

// glanceAt is glance of any word of a record.
func glanceAt(at *uint64) uint64 { return atomic.LoadUint64(at) }
