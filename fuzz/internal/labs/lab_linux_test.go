package labs

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
