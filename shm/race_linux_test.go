package shm_test

import (
	"errors"
	"io/fs"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shm"
)

func TestOneOfManyGoroutinesCreates(t *testing.T) {
	for range 10 {
		dir := shm.ScratchDir(t)
		var creators atomic.Int32
		var wg sync.WaitGroup
		gun := make(chan struct{})
		for range 50 {
			wg.Go(func() {
				<-gun
				s, created, err := openOrCreate(t.Context(), dir)
				if err != nil {
					t.Error(err)
					return
				}
				if created {
					creators.Add(1)
				}
				if !intact(s.Bytes()) {
					t.Error("attached to an incomplete segment")
				}
				if err := errors.Join(s.Check(), s.Close()); err != nil {
					t.Error(err)
				}
			})
		}
		close(gun)
		wg.Wait()
		require.EqualValues(t, 1, creators.Load())
		require.Equal(t, []string{"a.shmring"}, shm.Names(t, dir))
	}
}

func TestOneOfManyProcessesCreates(t *testing.T) {
	dir := shm.ScratchDir(t)
	var all []*process
	for range 20 {
		all = append(all, start(t, "openorcreate", dir))
	}
	for _, p := range all {
		require.NoError(t, p.stdin.Close())
	}
	creators, inodes := 0, map[string]bool{}
	for _, p := range all {
		words := strings.Fields(p.line())
		require.Len(t, words, 3)
		if words[0] == "true" {
			creators++
		}
		inodes[words[1]] = true
		require.Equal(t, "true", words[2], "intact")
		require.NoError(t, p.cmd.Wait())
	}
	require.Equal(t, 1, creators)
	require.Len(t, inodes, 1)
}

// While some create, open, close and remove, whoever is attached is attached to the
// file that has the name.
func TestNoSplitBrainUnderRemoval(t *testing.T) {
	dir := shm.ScratchDir(t)
	opt := &shm.Options{Dir: dir}
	const workers, rounds = 4, 500
	var creations, removals atomic.Int32
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range rounds {
				s, created, err := openOrCreate(t.Context(), dir)
				if err != nil {
					t.Error(err)
					return
				}
				if created {
					creations.Add(1)
				}
				if !intact(s.Bytes()) {
					t.Error("attached to an incomplete segment")
				}
				if _, err := s.TryLock(0); err != nil {
					t.Error(err)
				}
				runtime.Gosched()
				if err := errors.Join(s.Check(), s.Close()); err != nil {
					t.Error(err)
				}
				switch err := shm.Remove(t.Context(), "a", opt); {
				case err == nil:
					removals.Add(1)
				case !errors.Is(err, shm.ErrBusy) && !errors.Is(err, fs.ErrNotExist):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.NotZero(t, removals.Load())
	left := int32(len(shm.Rings(t, dir)))
	require.Equal(t, creations.Load(), removals.Load()+left, "every file created was removed once or is left")
	if left > 0 {
		require.NoError(t, shm.Remove(t.Context(), "a", opt))
	}
	require.Empty(t, shm.Names(t, dir))
}
