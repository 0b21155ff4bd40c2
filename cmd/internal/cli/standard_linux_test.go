package cli

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A file that became non-blocking when Go had taken it for a blocking one.
func TestWritingWaitsWhereOthersMadeItNonBlocking(t *testing.T) {
	fds := make([]int, 2)
	require.NoError(t, unix.Pipe2(fds, unix.O_CLOEXEC))
	w := os.NewFile(uintptr(fds[1]), "pipe")
	defer w.Close()
	require.NoError(t, unix.SetNonblock(fds[1], true))
	require.NoError(t, unix.SetNonblock(fds[0], true)) // for the deadline
	r := os.NewFile(uintptr(fds[0]), "pipe")
	defer r.Close()
	require.NoError(t, r.SetReadDeadline(time.Now().Add(20*time.Second)))

	data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	_, err := w.Write(data)
	require.ErrorIs(t, err, unix.EAGAIN, "the file itself does not wait")
	_, err = io.ReadFull(r, make([]byte, 1<<16)) // what fits into a pipe
	require.NoError(t, err)

	wrote := make(chan error, 1)
	go func() {
		n, err := Waiting(w).Write(data)
		if err == nil && n != len(data) {
			err = io.ErrShortWrite
		}
		wrote <- err
	}()
	got := make([]byte, len(data))
	_, err = io.ReadFull(r, got)
	require.NoError(t, err)
	require.NoError(t, <-wrote)
	require.True(t, bytes.Equal(data, got))

	require.NoError(t, r.Close())
	_, err = Waiting(w).Write(data)
	require.ErrorIs(t, err, unix.EPIPE)
}

func TestFilesThatCannotBeUsedAreFound(t *testing.T) {
	for _, c := range []struct {
		name          string
		flag          int
		input, output string
		path          string
	}{
		{"null to write", os.O_WRONLY, "it is open for the other direction only", "", os.DevNull},
		{"null to read", os.O_RDONLY, "", "it is open for the other direction only", os.DevNull},
		{"closed", os.O_RDWR, "standard input is closed, or", "standard output is closed, or", os.DevNull},
		{"another device", os.O_RDWR, "", "", "/dev/zero"},
		{"a file", os.O_RDWR | os.O_CREATE, "", "", t.TempDir() + "/file"},
	} {
		f, err := os.OpenFile(c.path, c.flag, 0o600)
		require.NoError(t, err)
		for _, err := range []struct {
			got  error
			want string
		}{{CheckReadable(f), c.input}, {CheckWritable(Waiting(f)), c.output}} {
			if err.want == "" {
				require.NoError(t, err.got, c.name)
			} else {
				require.ErrorContains(t, err.got, err.want, c.name)
			}
		}
		require.NoError(t, f.Close())
	}
	require.NoError(t, CheckReadable(&bytes.Buffer{}))
	require.NoError(t, CheckWritable(&bytes.Buffer{}))
}
