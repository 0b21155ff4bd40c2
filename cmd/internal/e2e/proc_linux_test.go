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
