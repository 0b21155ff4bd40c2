package shmring

import (
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// Numbers and words that are written out in this package, so that its documentation shows
// them, and are those of the packages below. The compiler refuses an index that is not 0.
var (
	_ = [1]int{}[KindSPSC-Kind(layout.SPSC)]
	_ = [1]int{}[KindMPSC-Kind(layout.MPSC)]
	_ = [1]int{}[DoorbellFutex-Doorbell(layout.Futex)]
	_ = [1]int{}[DoorbellSysV-Doorbell(layout.SysV)]
	_ = [1]int{}[DoorbellPoll-Doorbell(layout.Poll)]
	_ = [1]int{}[WhenFullBlock-WhenFull(ring.WhenFullBlock)]
	_ = [1]int{}[WhenFullFail-WhenFull(ring.WhenFullFail)]
	_ = [1]int{}[WhenFullDrop-WhenFull(ring.WhenFullDrop)]
	_ = [1]int{}[FateLeft-Fate(layout.FateLeft)]
	_ = [1]int{}[FateFailed-Fate(layout.FateFailed)]
	_ = [1]int{}[FateDied-Fate(layout.FateDied)]
	_ = [1]int{}[DefaultMaxProducers-(layout.MaxParticipants-1)]

	_ = map[bool]int{false: 0, EnvDir == shm.EnvDir: 1}
	_ = map[bool]int{false: 0, EnvLocks == shm.EnvLocks: 1}
)
