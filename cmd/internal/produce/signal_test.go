package produce

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

// A signal that comes before the ring is open ends a producer in good order, and SIGTERM not
// before its input ends.
func TestSignalBeforeTheRingIsOpen(t *testing.T) {
	for _, c := range []struct {
		cause    error
		drain    string
		messages uint64
	}{
		{cli.ErrTerminated, "1h", 2},
		{cli.ErrTerminated, "0s", 0},
		{cli.ErrInterrupted, "1h", 0},
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(c.cause)
		dir := t.TempDir()
		r, w, err := os.Pipe()
		require.NoError(t, err)
		_, err = w.WriteString("a\nb\n")
		require.NoError(t, err)
		require.NoError(t, w.Close())
		var said bytes.Buffer
		args := []string{"-ring", "r", "-dir", dir, "-json", "-no-end", "-drain", c.drain}
		require.Zero(t, Run(ctx, args, r, &bytes.Buffer{}, &said), "%s", &said)
		require.NoError(t, r.Close())
		var totals cli.Totals
		require.NoError(t, json.Unmarshal(said.Bytes(), &totals))
		require.Equal(t, c.messages, totals.Messages, "%v, %s", c.cause, c.drain)
		if c.messages > 0 {
			require.NoError(t, shmring.Remove(t.Context(), "r", &shmring.AdminOptions{Dir: dir}))
		}
	}
}
