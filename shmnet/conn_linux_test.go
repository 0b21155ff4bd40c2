package shmnet_test

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/shmnet"
)

// within is how long a test waits for what should come at once.
const within = 20 * time.Second

// pair returns the two ends of a connection: the dialer's first.
func pair(t testing.TB, c *shmnet.Config) (*shmnet.Conn, *shmnet.Conn) {
	l, err := shmnet.Listen(filepath.Join(t.TempDir(), "s"), c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	a, err := shmnet.Dial(ctx, l.Addr().String(), c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	b, err := l.AcceptConn()
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	for _, c := range []*shmnet.Conn{a, b} {
		require.NoError(t, c.SetDeadline(time.Now().Add(within)))
	}
	return a, b
}

func TestThereAndBack(t *testing.T) {
	a, b := pair(t, nil)
	n, err := a.Write([]byte("hello"))
	require.NoError(t, err)
	require.Equal(t, 5, n)
	buf := make([]byte, 3)
	n, err = io.ReadFull(b, buf)
	require.NoError(t, err)
	require.Equal(t, "hel", string(buf[:n]))
	n, err = b.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "lo", string(buf[:n]))
	require.NoError(t, a.CloseWrite())
	_, err = b.Read(buf)
	require.Equal(t, io.EOF, err)
	_, err = b.Read(buf)
	require.Equal(t, io.EOF, err)
	_, err = b.Write([]byte("bye"))
	require.NoError(t, err)
	require.NoError(t, b.Close())
	all, err := io.ReadAll(a)
	require.NoError(t, err)
	require.Equal(t, "bye", string(all))
}
