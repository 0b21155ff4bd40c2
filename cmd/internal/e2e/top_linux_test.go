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

// The other screen, and what was there before.
const (
	otherScreen = "\x1b[?1049h"
	firstScreen = "\x1b[?1049l"
	showCursor  = "\x1b[?25h"
)

// onTerminal is a program on a terminal.
type onTerminal struct {
	*process
	t             *testing.T
	master, slave *os.File
	shown         *output
	before        uint32 // the terminal's local modes
}

// onATerminal starts a program, or a script in a shell, that has a terminal of its own.
func onATerminal(t *testing.T, dir string, args []string, setups ...setup) *onTerminal {
	t.Helper()
	p := &onTerminal{t: t, shown: &output{}}
	p.master, p.slave = terminal(t)
	p.before = p.modes()
	go io.Copy(p.shown, p.master) // ends with the master
	p.process = start(t, dir, "shmring", args, append(setups, func(cmd *exec.Cmd) {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	})...)
	return p
}

func (p *onTerminal) modes() uint32 {
	p.t.Helper()
	now, err := unix.IoctlGetTermios(int(p.slave.Fd()), unix.TCGETS)
	require.NoError(p.t, err)
	return now.Lflag
}

// takes waits until the program has the screen, for the nth time, and shows something on it.
func (p *onTerminal) takes(n int) {
	p.t.Helper()
	eventually(p.t, "the other screen", func() bool {
		parts := strings.Split(p.shown.String(), otherScreen)
		return len(parts) == n+1 && strings.Contains(parts[n], "shmring top")
	})
	require.Zero(p.t, p.modes()&unix.ICANON)
}

// gives waits until the screen is as it was, for the nth time.
func (p *onTerminal) gives(n int) {
	p.t.Helper()
	eventually(p.t, "the screen is given back", func() bool {
		text := p.shown.String()
		return strings.Count(text, firstScreen) == n &&
			strings.LastIndex(text, showCursor) > strings.LastIndex(text, "\x1b[?25l")
	})
	eventually(p.t, "the terminal's modes", func() bool { return p.modes() == p.before })
	// Nothing was asked: what a terminal far away answers comes when a shell reads it.
	for _, question := range []string{"$p", "\x1b[?u", "\x1b[c", "\x1b[6n", "\x1b[>q", "\x1b]11;?"} {
		require.NotContains(p.t, p.shown.String(), question)
	}
}

// On a terminal top has the screen, and gives it back as it was, by keys and by signals.
func TestTopOnATerminal(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 64 -no-end", stdin(strings.NewReader("1\n2\n3\n"))).ends(0)
	for name, end := range map[string]func(p *onTerminal){
		"q":      func(p *onTerminal) { fmt.Fprint(p.master, "q") },
		"ctrl-c": func(p *onTerminal) { fmt.Fprint(p.master, "\x03") },
		"term":   func(p *onTerminal) { require.NoError(p.t, p.cmd.Process.Signal(unix.SIGTERM)) },
		"ctrl-z without a shell": func(p *onTerminal) {
			fmt.Fprint(p.master, "\x1a") // nobody could let it go on
			require.NoError(p.t, p.cmd.Process.Signal(unix.SIGTSTP))
			fmt.Fprint(p.master, "q")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := onATerminal(t, dir, []string{"top", "-for", "20ms"})
			p.takes(1)
			end(p)
			p.ends(0)
			p.gives(1)
		})
	}
	t.Run("count", func(t *testing.T) {
		p := onATerminal(t, dir, []string{"top", "-for", "1ms", "-count", "3"})
		p.ends(0)
		p.gives(1)
	})
	t.Run("trouble", func(t *testing.T) {
		p := onATerminal(t, dir, []string{"top", "/nonexistent"})
		p.ends(cli.Failed)
		eventually(t, "the reason", func() bool { return strings.Contains(p.shown.String(), "no such file or directory") })
	})
}

// In a shell it can be stopped, by its key and by others, and goes on where it was.
func TestTopIsStopped(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 64 -no-end", stdin(strings.NewReader("1\n2\n3\n"))).ends(0)
	script := fmt.Sprintf("%q top -for 20ms; echo stopped one; fg; echo stopped two; fg; echo over $?", os.Args[0])
	p := onATerminal(t, dir, nil, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-m", "-c", script}
	})
	p.takes(1)
	fmt.Fprint(p.master, "\x1a")
	eventually(t, "the shell", func() bool { return strings.Contains(p.shown.String(), "stopped one") })
	p.takes(2) // by fg
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.cmd.Process.Pid))
	require.NoError(t, err)
	var pid int
	_, err = fmt.Sscan(string(text), &pid)
	require.NoError(t, err)
	require.NoError(t, unix.Kill(pid, unix.SIGTSTP))
	eventually(t, "the shell", func() bool { return strings.Contains(p.shown.String(), "stopped two") })
	p.takes(3)
	fmt.Fprint(p.master, "q")
	p.ends(0)
	eventually(t, "the shell", func() bool { return strings.Contains(p.shown.String(), "over 0") })
	p.gives(3)
}
