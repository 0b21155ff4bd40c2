package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// len32Stream is random records of 0 to longest bytes in len32 framing.
func len32Stream(records, longest int) []byte {
	rng := rand.New(rand.NewPCG(3, 4))
	var b []byte
	for range records {
		n := rng.IntN(longest + 1)
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
		b = append(b, randomBytes(n)...)
	}
	return b
}

func file(t *testing.T, content []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "input")
	require.NoError(t, os.WriteFile(name, content, 0o600))
	return name
}

// Whatever goes in comes out, in every framing, on both kinds of ring, whoever
// starts first, from a file and through a pipe.
func TestTransfer(t *testing.T) {
	binary := randomBytes(3 << 20)
	withoutNewline := append(bytes.ReplaceAll(binary[:1<<20], []byte{0}, []byte{'\n', '\n'}), 'x')
	for _, c := range []struct {
		name, frame string
		input, want []byte
	}{
		{"lines of binary data", "-frame line", withoutNewline, append(withoutNewline, '\n')},
		{"lines in batches", "-frame line -batch 100", withoutNewline, append(withoutNewline, '\n')},
		{"len32 of binary data", "-frame len32", len32Stream(3000, 1000), nil},
		{"len32 of empty records", "-frame len32", make([]byte, 4*20000), nil},
		{"small chunks", "-frame chunk=100", binary, nil},
		{"chunks", "-frame chunk=4096", binary, nil},
		{"large chunks", "-frame chunk=100000", binary, nil},
		{"nothing", "-frame line", nil, nil},
	} {
		want := c.want
		if want == nil {
			want = c.input
		}
		for _, kind := range []string{"spsc", "mpsc"} {
			for _, order := range []string{"consumer first", "producer first"} {
				t.Run(c.name+"/"+kind+"/"+order, func(t *testing.T) {
					t.Parallel()
					dir := ringDir(t)
					frame := strings.ReplaceAll(c.frame, "-batch 100", "")
					produce := func() *process {
						args := "-kind " + kind + " " + c.frame
						if order == "consumer first" {
							return producer(t, dir, args, stdin(bytes.NewReader(c.input)))
						}
						return producer(t, dir, args+" "+file(t, c.input))
					}
					var p, q *process
					if order == "consumer first" {
						q = consumer(t, dir, frame)
						p = produce()
					} else {
						p = produce()
						watch(t, dir)
						q = consumer(t, dir, frame)
					}
					p.ends(0)
					q.ends(0)
					require.True(t, bytes.Equal(want, []byte(q.stdout.String())), "%d bytes in, %d out", len(want),
						len(q.stdout.String()))
				})
			}
		}
	}
}

func TestFilesInOrderAndStandardInputAmongThem(t *testing.T) {
	dir := ringDir(t)
	a, b := file(t, []byte("a1\na2")), file(t, []byte("b1\n"))
	producer(t, dir, a+" - "+b, stdin(strings.NewReader("stdin\n"))).ends(0)
	q := consumer(t, dir, "")
	q.ends(0)
	require.Equal(t, "a1\na2\nstdin\nb1\n", q.stdout.String())
}

// A file may have the name of a command.
func TestFilesWithNamesOfCommands(t *testing.T) {
	dir, here := ringDir(t), t.TempDir()
	for _, name := range []string{"completion", "help"} {
		require.NoError(t, os.WriteFile(filepath.Join(here, name), []byte(name+"\n"), 0o600))
	}
	in := func(c *exec.Cmd) { c.Dir = here }
	producer(t, dir, "-no-end completion help", in).ends(0)
	producer(t, dir, "-- completion", in).ends(0)
	q := consumer(t, dir, "")
	q.ends(0)
	require.Equal(t, "completion\nhelp\ncompletion\n", q.stdout.String())
}

func TestOutputFileIsLeftAloneWhenTheRingIsBusy(t *testing.T) {
	dir := ringDir(t)
	out := file(t, []byte("precious\n"))
	first := consumer(t, dir, "-create")
	watch(t, dir).hasConsumer()
	second := consumer(t, dir, "-o "+out)
	second.ends(7)
	require.Contains(t, second.stderr.String(),
		fmt.Sprintf("there is a consumer already (pid %d)", first.cmd.Process.Pid))
	got, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "precious\n", string(got))
}

// numbered is lines "NAME 0", "NAME 1" …
func numbered(name string, from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "%s %d\n", name, i)
	}
	return b.String()
}

// requireOrdered requires each name's lines once and in order, n of each.
func requireOrdered(t *testing.T, got []string, n int, names ...string) {
	t.Helper()
	next := map[string]int{}
	for _, l := range got {
		name, number, ok := strings.Cut(l, " ")
		require.True(t, ok, l)
		require.Equal(t, fmt.Sprint(next[name]), number, "of %s", name)
		next[name]++
	}
	require.Len(t, next, len(names))
	for _, name := range names {
		require.Equal(t, n, next[name], "of %s", name)
	}
}

func TestFourProducersAtOnce(t *testing.T) {
	for _, batch := range []string{"-batch 1", "-batch 50"} {
		t.Run(batch, func(t *testing.T) {
			dir := ringDir(t)
			q := consumer(t, dir, "-producers 4")
			names := []string{"a", "b", "c", "d"}
			var ps []*process
			for _, name := range names {
				ps = append(ps,
					producer(t, dir, "-kind mpsc "+batch, stdin(strings.NewReader(numbered(name, 0, 20000)))))
			}
			for _, p := range ps {
				p.ends(0)
			}
			q.ends(0)
			requireOrdered(t, lines(q.stdout.String()), 20000, names...)
		})
	}
}

// The end of -producers N is that of the Nth, however far they are apart.
func TestProducersThatDoNotOverlap(t *testing.T) {
	for _, kind := range []string{"spsc", "mpsc"} {
		t.Run(kind+", consumer first", func(t *testing.T) {
			dir := ringDir(t)
			q := consumer(t, dir, "-producers 3")
			for i, name := range []string{"a", "b", "c"} {
				producer(t, dir, "-kind "+kind, stdin(strings.NewReader(numbered(name, 0, 10)))).ends(0)
				q.prints(10 * (i + 1))
			}
			q.ends(0)
			requireOrdered(t, lines(q.stdout.String()), 10, "a", "b", "c")
		})
		t.Run(kind+", consumer last", func(t *testing.T) {
			dir := ringDir(t)
			for _, name := range []string{"a", "b", "c"} {
				producer(t, dir, "-kind "+kind, stdin(strings.NewReader(numbered(name, 0, 10)))).ends(0)
			}
			q := consumer(t, dir, "-producers 3")
			q.ends(0)
			requireOrdered(t, lines(q.stdout.String()), 10, "a", "b", "c")
		})
		t.Run(kind+", consumer between", func(t *testing.T) {
			dir := ringDir(t)
			producer(t, dir, "-kind "+kind, stdin(strings.NewReader(numbered("a", 0, 10)))).ends(0)
			b := producer(t, dir, "-kind "+kind)
			q := consumer(t, dir, "-producers 3")
			q.prints(10)
			b.write(numbered("b", 0, 10))
			require.NoError(t, b.stdin.Close())
			b.ends(0)
			q.prints(20)
			producer(t, dir, "-kind "+kind).stdin.Close() // one that has nothing to say counts too
			q.ends(0)
			requireOrdered(t, lines(q.stdout.String()), 10, "a", "b")
		})
	}
}

func TestFollowGoesOnBehindTheEnd(t *testing.T) {
	dir := ringDir(t)
	q := consumer(t, dir, "-follow")
	for i, name := range []string{"a", "b"} {
		producer(t, dir, "", stdin(strings.NewReader(numbered(name, 0, 10)))).ends(0)
		q.prints(10 * (i + 1))
	}
	q.signal(os.Interrupt)
	q.ends(0)
	requireOrdered(t, lines(q.stdout.String()), 10, "a", "b")
}

func TestNoEndLeavesTheStreamToASuccessor(t *testing.T) {
	for _, kind := range []string{"spsc", "mpsc"} {
		dir := ringDir(t)
		q := consumer(t, dir, "")
		producer(t, dir, "-no-end -kind "+kind, stdin(strings.NewReader("a\n"))).ends(0)
		q.prints(1)
		producer(t, dir, "", stdin(strings.NewReader("b\n"))).ends(0)
		q.ends(0)
		require.Equal(t, "a\nb\n", q.stdout.String())
	}
}

func TestCount(t *testing.T) {
	for _, batch := range []string{"1", "7"} {
		dir := ringDir(t)
		p := producer(t, dir, "-json -count 25 -batch "+batch, stdin(strings.NewReader(numbered("x", 0, 100))))
		p.ends(0)
		require.EqualValues(t, 25, p.totals().Messages)
		if batch != "1" {
			continue // a consumer that stops inside a batch leaves all of it
		}
		q := consumer(t, dir, "-json -count 10")
		q.ends(0)
		require.Equal(t, numbered("x", 0, 10), q.stdout.String())
		require.EqualValues(t, 10, q.totals().Messages)
		rest := consumer(t, dir, "-json")
		rest.ends(0)
		require.Equal(t, numbered("x", 10, 25), rest.stdout.String())
		require.Zero(t, rest.totals().Redelivered)
	}
}
