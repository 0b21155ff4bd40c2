package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/cmd/internal/cli"
)

func TestTop(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 64 -no-end", stdin(strings.NewReader("1\n2\n3\n"))).ends(0)
	p := command(t, dir, "top -for 1ms -count 3")
	p.ends(0)
	require.Equal(t, 3, strings.Count(p.stdout.String(), "unattended: nobody attached; 3 messages"), p.stdout)
	require.NotContains(t, p.stdout.String(), "\x1b", "no terminal")
	p = command(t, dir, "top -json -for 1ms -count 2")
	p.ends(0)
	lines := strings.Split(strings.TrimSpace(p.stdout.String()), "\n")
	require.Len(t, lines, 2)
	var list []map[string]any
	require.NoError(t, json.Unmarshal([]byte(lines[1]), &list))
	require.Equal(t, "r", list[0]["name"])
	require.Contains(t, list[0], "sent_slots_per_s")
	p = command(t, dir, "top -for 1ms")
	eventually(t, "tables", func() bool { return strings.Count(p.stdout.String(), "shmring top") > 3 })
	require.NoError(t, p.cmd.Process.Signal(unix.SIGTERM))
	p.ends(0)
	command(t, dir, "top /nonexistent").ends(cli.Failed)
}

// terminal makes a pair of terminals.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { slave.Close() })
	require.NoError(t, unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 40}))
	return master, slave
}

// On a terminal top has the screen, draws no more than fits, and gives it back as it was, by a key
// and by a signal.
func TestTopOnATerminal(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 64 -no-end", stdin(strings.NewReader("1\n2\n3\n"))).ends(0)
	for name, end := range map[string]func(t *testing.T, master *os.File){
		"q":      func(t *testing.T, master *os.File) { fmt.Fprint(master, "q") },
		"ctrl-c": func(t *testing.T, master *os.File) { fmt.Fprint(master, "\x03") },
	} {
		t.Run(name, func(t *testing.T) {
			master, slave := terminal(t)
			before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			require.NoError(t, err)
			shown := &output{}
			go io.Copy(shown, master) // ends with the master
			p := start(t, dir, "shmring", []string{"top", "-for", "20ms"}, func(cmd *exec.Cmd) {
				cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
			})
			eventually(t, "frames", func() bool { return strings.Count(shown.String(), "\x1b[H") > 3 })
			now, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			require.NoError(t, err)
			require.Zero(t, now.Lflag&unix.ICANON)
			end(t, master)
			p.ends(0)
			eventually(t, "the screen is given back", func() bool {
				return strings.HasSuffix(shown.String(), "\x1b[?25h\x1b[?1049l")
			})
			require.True(t, strings.HasPrefix(shown.String(), "\x1b[?1049h\x1b[?25l"))
			after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			require.NoError(t, err)
			require.Equal(t, before.Lflag, after.Lflag)
			_, first, _ := strings.Cut(shown.String(), "\x1b[H")
			first, _, _ = strings.Cut(first, "\x1b[J")
			lines := strings.Split(first, "\r\n")
			require.LessOrEqual(t, len(lines), 10)
			for _, l := range lines {
				require.LessOrEqual(t, len([]rune(strings.TrimSuffix(strings.TrimRight(l, "\r"), "\x1b[K"))), 40)
			}
		})
	}
}
