package shmring_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

func TestNoSpace(t *testing.T) {
	dir := ringDir(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a small tmpfs needs privileges: ", err)
	}
	defer syscall.Unmount(dir, 0)
	_, err := shmring.OpenProducer(soon(t), "r", &shmring.Options{Dir: dir})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, dir)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// Opening and closing leaves nothing behind.
func TestNoLeaks(t *testing.T) {
	dir := ringDir(t)
	count := func(path string) int {
		entries, err := os.ReadDir(path)
		require.NoError(t, err)
		return len(entries)
	}
	cycle := func() {
		p, err := shmring.OpenProducer(soon(t), "r", &shmring.Options{Dir: dir, Kind: shmring.KindMPSC})
		require.NoError(t, err)
		c, err := shmring.OpenConsumer(soon(t), "r", &shmring.Options{Dir: dir})
		require.NoError(t, err)
		_, err = shmring.OpenConsumer(soon(t), "r", &shmring.Options{Dir: dir})
		require.ErrorIs(t, err, shmring.ErrBusy)
		require.NoError(t, p.Send(soon(t), nil))
		require.NoError(t, p.Close())
		_, err = c.Receive(soon(t), nil)
		require.NoError(t, err)
		_, err = c.Receive(soon(t), nil)
		require.Equal(t, io.EOF, err)
		require.NoError(t, c.Close())
	}
	cycle()
	awaitNoInotify(t)
	fds, files := count("/proc/self/fd"), count(dir)
	for range 50 {
		cycle()
	}
	awaitNoInotify(t)
	require.Equal(t, fds, count("/proc/self/fd"))
	require.Equal(t, files, count(dir))
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	require.NotContains(t, string(maps), dir, "no mapping of the file is left")
}

var soakCycles = flag.Int("soak.cycles", 100, "how often TestBackToBaseline does all that it does")

// Opening, being refused, touching all memory, sleeping on a thread and parked, and being closed in the middle of that
// leave no descriptor, mapping, thread or address space behind.
func TestBackToBaseline(t *testing.T) {
	dir := ringDir(t)
	p, err := shmring.OpenProducer(soon(t), "huge", &shmring.Options{Dir: dir})
	require.NoError(t, err)
	huge := p.Info().Path
	require.NoError(t, p.Close())
	require.NoError(t, os.Truncate(huge, 1<<40))
	for n := range 20 {
		openAndCloseAll(t, dir, n)
	}
	awaitNoInotify(t)
	for batch := 1; ; batch++ {
		fds, threads, pages := resources(t, dir)
		for n := range *soakCycles {
			openAndCloseAll(t, dir, n)
		}
		awaitNoInotify(t)
		fdsNow, threadsNow, pagesNow := resources(t, dir)
		t.Logf("%d times: descriptors %d, then %d; threads %d, then %d; address space %d MiB, then %d", *soakCycles, fds,
			fdsNow, threads, threadsNow, pages>>8, pagesNow>>8)
		require.Equal(t, fds, fdsNow)
		require.LessOrEqual(t, threadsNow, threads+8, "the runtime keeps some")
		// The heap takes arenas of 64 MiB when it likes, and so does a libc for its threads, with 8 MiB for each
		// one's stack. They come once, a leak with every batch: 10 MiB or more each time for one of four handles.
		if pagesNow-pages < 32<<8 {
			return
		}
		require.Less(t, batch, 8, "address space grew with every batch")
	}
}

// resources are those of this process, which maps no ring.
func resources(t *testing.T, dir string) (fds, threads, pages int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	require.NotContains(t, string(maps), dir)
	for path, n := range map[string]*int{"/proc/self/fd": &fds, "/proc/self/task": &threads} {
		entries, err := os.ReadDir(path)
		require.NoError(t, err)
		*n = len(entries)
	}
	statm, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	_, err = fmt.Sscan(string(statm), &pages)
	require.NoError(t, err)
	return fds, threads, pages
}

// openAndCloseAll opens rings, is refused others, closes two consumers that sleep, on a thread and parked, and removes
// the rings.
func openAndCloseAll(t *testing.T, dir string, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := shmring.OpenConsumer(ctx, "huge", &shmring.Options{Dir: dir})
	require.ErrorIs(t, err, shmring.ErrCorrupt)
	done := make(chan error, 2)
	var consumers []*shmring.Consumer
	var producers []*shmring.Producer
	policies := []shmring.WaitPolicy{shmring.WaitSleep, shmring.WaitPark}
	for i, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		name := fmt.Sprint("r", i)
		o := &shmring.Options{Dir: dir, Kind: kind, Prefault: i == 0}
		p, err := shmring.OpenProducer(ctx, name, o)
		require.NoError(t, err)
		c, err := shmring.OpenConsumer(ctx, name, &shmring.Options{Dir: dir, WaitPolicy: policies[i]})
		require.NoError(t, err)
		if n%10 == 0 { // which takes 30 ms: the one that has the role may be about to leave
			_, err = shmring.OpenConsumer(ctx, name, &shmring.Options{Dir: dir})
			require.ErrorIs(t, err, shmring.ErrBusy)
		}
		consumers, producers = append(consumers, c), append(producers, p)
		go func() {
			_, err := c.Receive(ctx, nil)
			done <- err
		}()
	}
	for _, c := range consumers {
		for c.Stats().Sleeps == 0 {
			require.NoError(t, ctx.Err())
			runtime.Gosched()
		}
		require.NoError(t, c.Close())
	}
	for range consumers {
		require.ErrorIs(t, <-done, shmring.ErrClosed)
	}
	for i, p := range producers {
		require.NoError(t, p.Close())
		require.NoError(t, shmring.Remove(ctx, fmt.Sprint("r", i), &shmring.AdminOptions{Dir: dir}))
	}
}

// awaitNoInotify waits until the instance of this process has gone, which stays for a second
// behind its last use, in this test or in one before.
func awaitNoInotify(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		fds, _ := filepath.Glob("/proc/self/fd/*")
		return !slices.ContainsFunc(fds, func(fd string) bool {
			what, _ := os.Readlink(fd)
			return what == "anon_inode:inotify"
		})
	}, 20*time.Second, 10*time.Millisecond, "an inotify instance stays")
}
