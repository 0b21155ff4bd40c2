package shm_test

import (
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

// A notify through any handle reaches whoever asked for it on any other, and itself.
func TestNotify(t *testing.T) {
	file, err := shm.Create(t.Context(), "notify", 4096, &shm.Options{Dir: t.TempDir()}, func([]byte,
		shm.Locks) error {
		return nil
	})
	require.NoError(t, err)
	for _, s := range []*shm.Segment{shm.Heap(4096), file} {
		other, err := s.Reopen()
		require.NoError(t, err)
		mine, theirs := make(chan struct{}, 1), make(chan struct{}, 1)
		on := func(s *shm.Segment, c chan struct{}) (stop func()) {
			stop, err := s.OnNotify(func() {
				select {
				case c <- struct{}{}:
				default:
				}
			})
			require.NoError(t, err)
			return stop
		}
		stopMine, stopTheirs := on(s, mine), on(other, theirs)
		for _, notificationr := range []*shm.Segment{s, other} {
			for range 100 {
				for _, c := range []chan struct{}{mine, theirs} {
					select { // what an earlier round left
					case <-c:
					default:
					}
				}
				notificationr.Notify()
				for _, c := range []chan struct{}{mine, theirs} {
					select {
					case <-c:
					case <-time.After(20 * time.Second):
						t.Fatal("not told")
					}
				}
			}
		}
		stopMine()
		stopTheirs()
		require.NoError(t, other.Close())
		other.Notify()
		_, err = other.OnNotify(func() {})
		require.ErrorIs(t, err, fs.ErrClosed)
		require.NoError(t, s.Close())
	}
}
