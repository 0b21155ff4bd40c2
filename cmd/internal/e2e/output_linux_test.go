package e2e

import (
	"context"
	"io"
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

// What is in the file of -o already is destroyed by -truncate and by nothing else.
func TestOutputFileThatHasSomething(t *testing.T) {
	for _, c := range []struct{ args, before, in, want string }{
		{"", "old\n", "new\n", "old\nnew\n"},
		{"-append", "old\n", "new\n", "old\nnew\n"},
		{"", "torn", "new\n", "torn\nnew\n"},
		{"", "", "new\n", "new\n"},
		{"", "old\n", "", "old\n"},
		{"-truncate", "older and longer\n", "new\n", "new\n"},
		{"-frame chunk=3 -append", "old", "new", "oldnew"},
		{"-frame chunk=3 -truncate", "old and longer", "new", "new"},
		{"-frame chunk=3", "", "new", "new"},
		{"-frame len32 -append", "\x01\x00\x00\x00a", "\x01\x00\x00\x00b", "\x01\x00\x00\x00a\x01\x00\x00\x00b"},
	} {
		t.Run(c.args+" "+c.before, func(t *testing.T) {
			t.Parallel()
			dir, out := ringDir(t), file(t, []byte(c.before))
			frame := strings.TrimSuffix(strings.TrimSuffix(c.args, "-append"), "-truncate")
			producer(t, dir, frame, stdin(strings.NewReader(c.in))).ends(0)
			q := consumer(t, dir, "-o "+out+" "+c.args)
			q.ends(0)
			require.Equal(t, c.want, readFile(t, out))
			require.Empty(t, q.stdout.String())
		})
	}
}

// A refusal touches neither the file nor the ring, and comes before the wait for a ring.
func TestOutputFileIsRefused(t *testing.T) {
	dir, out := ringDir(t), file(t, []byte("old"))
	for _, frame := range []string{"-frame chunk=3", "-frame len32"} {
		q := consumer(t, dir, frame+" -o "+out)
		q.ends(cli.Failed)
		require.Equal(t, "consumer: -o: "+out+" has 3 bytes already: give -append to write behind them, "+
			"or -truncate to lose them\n", q.stderr.String())
	}
	require.Equal(t, "old", readFile(t, out))
}

// A supervisor starts the same command line again after a crash.
func TestOutputFileOfAConsumerThatWasKilled(t *testing.T) {
	dir, out := ringDir(t), filepath.Join(t.TempDir(), "log")
	producer(t, dir, "-no-end", stdin(strings.NewReader(numbered("x", 0, 1000)))).ends(0)
	q := consumer(t, dir, "-o "+out)
	watch(t, dir).consumed(1000)
	q.kill()
	producer(t, dir, "", stdin(strings.NewReader(numbered("x", 1000, 1010)))).ends(0)
	consumer(t, dir, "-o "+out).ends(0)
	require.Equal(t, numbered("x", 0, 1010), readFile(t, out))
}

// Whoever empties the file while it is written gets no hole at its begin.
func TestOutputFileThatIsEmptiedMeanwhile(t *testing.T) {
	dir, out := ringDir(t), filepath.Join(t.TempDir(), "log")
	p := producer(t, dir, "")
	q := consumer(t, dir, "-o "+out)
	p.write("a\nb\n")
	watch(t, dir).consumed(2)
	require.NoError(t, os.Truncate(out, 0))
	p.write("c\n")
	require.NoError(t, p.stdin.Close())
	p.ends(0)
	q.ends(0)
	require.Equal(t, "c\n", readFile(t, out))
}

// A full disk is an error, and what did not fit stays in the ring.
func TestOutputThatIsFull(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "", stdin(strings.NewReader(numbered("x", 0, 10)))).ends(0)
	q := consumer(t, dir, "-json -o /dev/full")
	q.ends(cli.Failed)
	require.Contains(t, q.totals().Error, "no space left on device")
	require.Zero(t, q.totals().Messages)
	rest := consumer(t, dir, "")
	rest.ends(0)
	require.Equal(t, numbered("x", 0, 10), rest.stdout.String())
}

// Output is often shared with others, and one of them may make it non-blocking before or while
// the consumer runs.
func TestOutputThatOthersMadeNonBlocking(t *testing.T) {
	const n = 30000
	for _, when := range []string{"before", "meanwhile"} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			dir := ringDir(t)
			var fds [2]int // not from os.Pipe, which has a mind of its own about blocking
			require.NoError(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
			require.NoError(t, unix.SetNonblock(fds[0], true)) // for the deadline
			r, w := os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
			defer r.Close()
			if when == "before" {
				require.NoError(t, unix.SetNonblock(fds[1], true))
			}
			q := consumer(t, dir, "-create -slots 65536 -quiet", stdout(w))
			watch(t, dir).hasConsumer()
			require.NoError(t, unix.SetNonblock(fds[1], true))
			producer(t, dir, "", stdin(strings.NewReader(numbered("x", 0, n)))).ends(0)
			full(t, w)
			require.NoError(t, w.Close())
			require.NoError(t, r.SetReadDeadline(time.Now().Add(deadline)))
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			q.ends(0)
			require.Equal(t, numbered("x", 0, n), string(got))
		})
	}
}

// redirected starts a program from a shell that opens or closes files of its first.
func redirected(how string) setup {
	return func(c *exec.Cmd) {
		c.Path, c.Args = "/bin/sh", append([]string{"sh", "-c", `exec "$0" "$@" ` + how}, c.Args...)
	}
}

func TestOutputThatIsClosed(t *testing.T) {
	for how, want := range map[string]string{
		">&-":          "standard output is closed, or /dev/null open for both directions, which looks the same",
		"1<>/dev/null": "standard output is closed, or /dev/null open for both directions, which looks the same",
		"1</dev/zero":  "standard output: bad file descriptor: it is open for the other direction only",
		"<&- >&- 2>&-": "",
		"1>/dev/null":  "fine",
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := ringDir(t)
			producer(t, dir, "", stdin(strings.NewReader(numbered("x", 0, 5)))).ends(0)
			q := consumer(t, dir, "", redirected(how))
			if want == "fine" {
				q.ends(0)
				return
			}
			q.ends(cli.Failed)
			if want != "" {
				require.Equal(t, "consumer: "+want+": give -o FILE; -o /dev/null throws the records away\n", q.stderr.String())
			}
			rest := consumer(t, dir, "")
			rest.ends(0)
			require.Equal(t, numbered("x", 0, 5), rest.stdout.String())
		})
	}
}

// The end of a stream that was never read would say that there was nothing to be had.
func TestInputThatIsClosed(t *testing.T) {
	for _, args := range []string{"", "-"} {
		dir := ringDir(t)
		p := producer(t, dir, args, redirected("<&-"))
		p.ends(cli.Failed)
		require.Contains(t, p.stderr.String(), "producer: standard input is closed, or")
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	}
	dir := ringDir(t)
	producer(t, dir, "-no-end "+file(t, []byte("a\n")), redirected("<&-")).ends(0)
	producer(t, dir, "", redirected("</dev/null")).ends(0)
	q := consumer(t, dir, "")
	q.ends(0)
	require.Equal(t, "a\n", q.stdout.String())
}

// Where nothing is written, it does not matter.
func TestVerifyingWithoutOutput(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-generate 10", redirected("<&-")).ends(0)
	consumer(t, dir, "-verify", redirected(">&-")).ends(0)
}

// fifo makes a named pipe.
func fifo(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(name, 0o600))
	return name
}

func TestOutputIntoANamedPipe(t *testing.T) {
	dir, name := ringDir(t), fifo(t)
	producer(t, dir, "", stdin(strings.NewReader(numbered("x", 0, 10)))).ends(0)
	q := consumer(t, dir, "-o "+name)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	f, err := cli.OpenFile(ctx, name, os.O_RDONLY, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, f.SetReadDeadline(time.Now().Add(deadline)))
	got, err := io.ReadAll(f)
	require.NoError(t, err)
	q.ends(0)
	require.Equal(t, numbered("x", 0, 10), string(got))
}

// One that nobody reads makes the consumer wait, and does not keep it.
func TestSignalWhileANamedPipeHasNoReader(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "", stdin(strings.NewReader("a\n"))).ends(0)
	q := consumer(t, dir, "-o "+fifo(t))
	watch(t, dir).hasConsumer()
	q.signal(os.Interrupt)
	q.ends(0)
	rest := consumer(t, dir, "")
	rest.ends(0)
	require.Equal(t, "a\n", rest.stdout.String())
}
