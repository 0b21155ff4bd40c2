package ring_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

// Who reads while many write gets events that are whole, in order.
func TestEventsAreWhole(t *testing.T) {
	eachMemory(t, layout.MPSC, func(t *testing.T, rig func(layout.Config) *rig) {
		r := rig(layout.Config{Slots: 64})
		_, v, _ := r.process()
		for i := 1; i <= 4; i++ {
			v.Participants[i].PID.Store(uint32(i))
		}
		look := func() (last uint64) {
			for _, e := range ring.Events(v) {
				require.Greater(t, e.Seq, last)
				last = e.Seq
				require.Equal(t, layout.EventOrphaned, e.Kind)
				require.Equal(t, e.Participant, e.PID)
				require.NotZero(t, e.Time)
			}
			return last
		}
		for round := range 50 {
			var wg sync.WaitGroup
			for i := 1; i <= 4; i++ {
				wg.Go(func() {
					for range layout.Events / 4 { // more would meet in one place
						ring.RecordOrphan(v, i)
					}
				})
			}
			done := make(chan struct{})
			go func() { wg.Wait(); close(done) }()
			for over := false; !over; look() {
				select {
				case <-done:
					over = true
				default:
					runtime.Gosched()
				}
			}
			require.Len(t, ring.Events(v), layout.Events)
			require.EqualValues(t, (round+1)*layout.Events, look())
		}
	})
}

// An event that its writer did not finish is none; the rest is there.
func TestEventThatWasNotFinished(t *testing.T) {
	r := newRig(t, memories[0], layout.Config{Kind: layout.SPSC, Slots: 64})
	_, v, _ := r.process()
	for range 3 {
		ring.RecordOrphan(v, 1)
	}
	v.Events[2].Seq.Store(0)
	events := ring.Events(v)
	require.Len(t, events, 2)
	require.EqualValues(t, 1, events[0].Seq)
	require.EqualValues(t, 3, events[1].Seq)
}
