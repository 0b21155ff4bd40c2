package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// appears waits for a file.
func appears(t *testing.T, name string) {
	t.Helper()
	eventually(t, name, func() bool { _, err := os.Stat(name); return err == nil })
}

// rotate does what logrotate does, and waits until the file is there again.
func rotate(t *testing.T, q *process, name, to string) {
	t.Helper()
	require.NoError(t, os.Rename(name, to))
	q.signal(syscall.SIGHUP)
	appears(t, name)
}

func TestHangupOpensTheOutputAnew(t *testing.T) {
	for _, args := range []string{"", "-truncate", "-timeout 1h", "-frame len32"} {
		t.Run(args, func(t *testing.T) {
			t.Parallel()
			dir, out := ringDir(t), filepath.Join(t.TempDir(), "log")
			p := producer(t, dir, "")
			q := consumer(t, dir, "-json -o "+out+" "+args)
			p.write("a\n")
			watch(t, dir).consumed(1)
			rotate(t, q, out, out+".1")
			p.write("b\n")
			watch(t, dir).consumed(2)
			rotate(t, q, out, out+".2")
			require.NoError(t, p.stdin.Close())
			p.ends(0)
			q.ends(0)
			head := "" // of a record
			if strings.Contains(args, "len32") {
				head = "\x01\x00\x00\x00"
			}
			got := readFile(t, out+".1") + readFile(t, out+".2")
			require.Equal(t, head+"a"+head+"b", strings.ReplaceAll(got, "\n", ""))
			require.Empty(t, readFile(t, out))
			require.EqualValues(t, 2, q.totals().Reopened)
		})
	}
}

// Records that stream meanwhile are whole, in order and in one of the files.
func TestHangupsUnderLoad(t *testing.T) {
	dir, out := ringDir(t), filepath.Join(t.TempDir(), "log")
	p := producer(t, dir, "")
	q := consumer(t, dir, "-json -o "+out)
	feed(p, "x")
	ring := watch(t, dir)
	appears(t, out)
	got, all := "", ""
	for round := range 10 {
		ring.consumed(ring.position() + 1000)
		rotate(t, q, out, fmt.Sprint(out, round))
	}
	ring.consumed(ring.position() + 1000)
	q.signal(os.Interrupt)
	q.ends(0)
	for round := range 10 {
		got = readFile(t, fmt.Sprint(out, round))
		require.True(t, got == "" || strings.HasSuffix(got, "\n"), "whole lines")
		all += got
	}
	all += readFile(t, out)
	require.Equal(t, numbered("x", 0, strings.Count(all, "\n")), all)
	require.EqualValues(t, 10, q.totals().Reopened)
	require.EqualValues(t, strings.Count(all, "\n"), q.totals().Messages)
}

// What cannot be opened anew leaves the file that was open in use, and is told.
func TestHangupThatFails(t *testing.T) {
	dir, place := ringDir(t), filepath.Join(t.TempDir(), "logs")
	require.NoError(t, os.Mkdir(place, 0o700))
	out := filepath.Join(place, "log")
	p := producer(t, dir, "")
	q := consumer(t, dir, "-quiet -o "+out)
	appears(t, out)
	require.NoError(t, os.Rename(place, place+".1"))
	q.signal(syscall.SIGHUP)
	q.says("consumer: SIGHUP: open " + out + ": no such file or directory: " +
		"the records still go to the file that was open\n")
	p.write("a\n")
	require.NoError(t, p.stdin.Close())
	p.ends(0)
	q.ends(0)
	require.Equal(t, "a\n", readFile(t, filepath.Join(place+".1", "log")))
}

// A SIGHUP before there is a ring, or a file, neither ends the consumer nor counts as a first
// signal.
func TestHangupBeforeThereIsARing(t *testing.T) {
	dir, out := ringDir(t), filepath.Join(t.TempDir(), "log")
	q := consumer(t, dir, "-o "+out)
	q.says("waiting for ring")
	q.signal(syscall.SIGHUP)
	q.signal(syscall.SIGHUP)
	producer(t, dir, "-no-end", stdin(strings.NewReader("a\n"))).ends(0)
	watch(t, dir).consumed(1)
	q.signal(syscall.SIGTERM)
	q.ends(0)
	require.Equal(t, "a\n", readFile(t, out))
}

func TestHangupWithoutAFileEndsAConsumer(t *testing.T) {
	dir := ringDir(t)
	q := consumer(t, dir, "-create")
	watch(t, dir).hasConsumer()
	q.signal(syscall.SIGHUP)
	q.ends(0)
}

// A named pipe that nobody reads does not hold the consumer up when it is to be opened anew.
func TestHangupAndANamedPipe(t *testing.T) {
	dir, out := ringDir(t), filepath.Join(t.TempDir(), "log")
	p := producer(t, dir, "")
	q := consumer(t, dir, "-o "+out)
	appears(t, out)
	require.NoError(t, os.Rename(out, out+".1"))
	require.NoError(t, syscall.Mkfifo(out, 0o600))
	q.signal(syscall.SIGHUP)
	q.says("consumer: SIGHUP: open " + out + ": no such device or address: ")
	p.write("a\n")
	require.NoError(t, p.stdin.Close())
	p.ends(0)
	q.ends(0)
	require.Equal(t, "a\n", readFile(t, out+".1"))
}

func TestHangupUnderNohup(t *testing.T) {
	dir, out := ringDir(t), filepath.Join(t.TempDir(), "log")
	q := consumer(t, dir, "-create -o "+out, func(c *exec.Cmd) {
		c.Path, c.Args = "/bin/sh", append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`}, c.Args...)
	})
	appears(t, out)
	rotate(t, q, out, out+".1")
	q.signal(os.Interrupt)
	q.ends(0)
}

// Whose terminal goes is not asked to open files anew.
func TestTerminalThatHangsUp(t *testing.T) {
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	defer ptmx.Close()
	fd := int(ptmx.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	tty, err := os.OpenFile(fmt.Sprint("/dev/pts/", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	dir, out := ringDir(t), filepath.Join(t.TempDir(), "log")
	q := consumer(t, dir, "-create -o "+out, stdin(tty), func(c *exec.Cmd) {
		c.SysProcAttr.Setsid, c.SysProcAttr.Setctty, c.SysProcAttr.Ctty = true, true, 0
	})
	require.NoError(t, tty.Close())
	appears(t, out)
	rotate(t, q, out, out+".1")
	require.NoError(t, ptmx.Close())
	select {
	case <-q.ended:
	case <-time.After(deadline):
		t.Fatal("the consumer outlives its terminal")
	}
	require.Equal(t, cli.OK, q.wait())
}
