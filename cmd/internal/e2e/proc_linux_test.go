package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// queued is how many bytes wait in a pipe.
func queued(t *testing.T, f *os.File) int {
	t.Helper()
	c, err := f.SyscallConn()
	require.NoError(t, err)
	var n int
	require.NoError(t, c.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.TIOCINQ) }))
	require.NoError(t, err)
	return n
}

// full waits until nothing more can be written into a pipe. That says nothing of how many
// bytes are in it: each small write may have taken a page.
func full(t *testing.T, w *os.File) {
	t.Helper()
	c, err := w.SyscallConn()
	require.NoError(t, err)
	eventually(t, "full pipe", func() bool {
		n, pollErr := 0, error(nil)
		err := c.Control(func(fd uintptr) {
			n, pollErr = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 0)
		})
		return err == nil && pollErr == nil && n == 0
	})
}

func cmdline(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(b)
}

// processesWith lists processes that have a text on their command line.
func processesWith(t *testing.T, text string) (pids []int) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, d := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(d)); err == nil && strings.Contains(cmdline(pid), text) {
			pids = append(pids, pid)
		}
	}
	return pids
}
