package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(labs.ChildEnv); text != "" {
		if err := victim(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Some rings of each mode, with real processes.
func TestRun(t *testing.T) {
	var said strings.Builder
	require.Zero(t, program().Run(t.Context(), strings.Fields("-mode all -n 50"), &said, &said), said.String())
}

// An end that says nothing of what has happened is seen.
func TestEndsAreJudged(t *testing.T) {
	r := &report{Ends: map[string]int{}}
	r.end("send", &shmring.TruncatedError{})
	r.end("send", &shmring.CorruptError{Field: "x"})
	r.end("send", context.DeadlineExceeded)
	require.Equal(t, map[string]int{"TruncatedError": 1, "CorruptError: x": 1, "deadline": 1}, r.Ends)
	require.Empty(t, r.Wrong)
	r.end("send", shmring.ErrBusy)
	require.Len(t, r.Wrong, 1)
}
