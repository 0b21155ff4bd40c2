package labs

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(ChildEnv); text != "" {
		var seconds int
		if err := BeChild(text, &seconds); err != nil {
			panic(err)
		}
		_, _ = os.Stderr.WriteString("a child\n")
		time.Sleep(time.Duration(seconds) * time.Second)
		os.Exit(seconds)
	}
	os.Exit(m.Run())
}

// A lab sees semaphore sets that it has used last, and those that nobody has used.
func TestSemaphoreSetsAreSeen(t *testing.T) {
	var ids []int
	r := &Result{Mode: "test"}
	left, err := r.Run(t.Context(), "labs-test", Options{Seed: 1}, func(*Lab) {
		for range 2 {
			id, _, errno := unix.Syscall(unix.SYS_SEMGET, unix.IPC_PRIVATE, 1, 0o600)
			if errno != 0 {
				t.Skip(errno)
			}
			ids = append(ids, int(id))
			t.Cleanup(func() { unix.Syscall6(unix.SYS_SEMCTL, id, 0, unix.IPC_RMID, 0, 0, 0) })
		}
		_, _, errno := unix.Syscall6(unix.SYS_SEMCTL, uintptr(ids[0]), 0, semSetValue, 1, 0, 0)
		require.Zero(t, errno)
	})
	require.NoError(t, err)
	for _, id := range ids {
		require.Contains(t, left, fmt.Sprintf("semaphore set %d", id))
	}
}

const semSetValue = 16 // SETVAL of linux/sem.h

// A lab sees how its children end, and what they and it leave behind.
func TestLab(t *testing.T) {
	r := &Result{Mode: "test"}
	left, err := r.Run(t.Context(), "labs-test", Options{Seed: 1}, func(l *Lab) {
		short, err := l.Spawn("short", 0, nil)
		require.NoError(t, err)
		require.True(t, l.Within(func() bool { return short.Ended(time.Millisecond, nil) }))
		require.ErrorContains(t, short.Wait(), "a child")
		require.False(t, short.WasKilled())
		require.True(t, short.HasEnded())
		long, err := l.Spawn("long", 1000, nil)
		require.NoError(t, err)
		require.True(t, l.IsOurs(long.PID()))
		require.False(t, long.Ended(50*time.Millisecond, nil))
		l.KillAll()
		require.True(t, long.WasKilled())
		defer func(usual time.Duration) { Patience = usual }(Patience)
		Patience = 200 * time.Millisecond
		stuck, err := l.Spawn("stuck", 1000, nil)
		require.NoError(t, err)
		require.True(t, l.Within(func() bool { return stuck.Stderr() != "" }))
		require.ErrorContains(t, stuck.EndOrStacks(nil), "goroutine")
		require.NoError(t, os.WriteFile(l.Rings+"/left", nil, 0o600))
	})
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Contains(t, left[0], "left is one")
	for range 2 * MaxProblems {
		r.Problem("a problem")
	}
	require.Len(t, r.Problems, MaxProblems)
	_, err = json.Marshal(r)
	require.NoError(t, err)
}
