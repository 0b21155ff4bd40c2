package e2e

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
)

// numbers are lines.
func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// Several consumers each get all records; who is too slow for its policy loses some, or all that follow, and is told.
func TestAlso(t *testing.T) {
	for _, batch := range []string{"", "-batch 16"} {
		dir := ringDir(t)
		rings := "-slots 8 -slot-size 0 -max-message 48 "
		p := producer(t, dir, rings+"-also b -also d=drop -also c=disconnect "+batch)
		a := consumer(t, dir, "")
		b := start(t, dir, "consumer", []string{"-ring", "b"})
		// A line goes to all, and is there to be seen before there are more than d and c have room for.
		p.write("0\n")
		a.prints(1)
		b.prints(1)
		text := numbers(5000)
		p.write(text[2:])
		require.NoError(t, p.stdin.Close())
		p.ends(0)
		for _, c := range []*process{a, b} {
			c.ends(0)
			require.Equal(t, text, c.stdout.String())
		}
		require.Regexp(t, `producer: ring c gets no more: ring is full: disconnected\n`, p.stderr.String())
		require.Regexp(t, `ring b: 5000 messages, 0 dropped\n`, p.stderr.String())
		d := start(t, dir, "consumer", []string{"-ring", "d"})
		d.ends(0)
		dropped := 5000 - len(lines(d.stdout.String()))
		require.Contains(t, p.stderr.String(), fmt.Sprintf("ring d: %d messages, %d dropped\n", 5000-dropped, dropped))
		require.Positive(t, dropped)
		c := start(t, dir, "consumer", []string{"-ring", "c"})
		c.ends(8) // what it got is not the whole
		require.True(t, strings.HasPrefix(text, c.stdout.String()))
	}
}

// A ring that holds up the others is bounded by -timeout; a signal ends all streams as not the whole.
func TestAlsoThatIsFull(t *testing.T) {
	dir := ringDir(t)
	rings := "-slots 8 -slot-size 0 -max-message 48 -also b "
	p := producer(t, dir, rings+"-timeout 50ms", stdin(strings.NewReader(numbers(1000))))
	a := consumer(t, dir, "", stdout(io.Discard))
	p.ends(5)
	a.ends(8)

	p = producer(t, dir, rings+"-no-end", stdin(strings.NewReader("")))
	p.ends(0)
	p = producer(t, dir, rings)
	p.write(numbers(100))
	a = consumer(t, dir, "", stdout(io.Discard))
	p.says("full")
	p.signal(unix.SIGINT)
	p.ends(5)
	a.ends(8)
}

// A ring that is no more does not keep the others from getting everything.
func TestAlsoThatBreaks(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-also b")
	a := consumer(t, dir, "")
	p.write("0\n")
	a.prints(1)
	require.NoError(t, unix.Unlink(dir+"/b.shmring"))
	written := 1
	eventually(t, "loss", func() bool {
		p.write("1\n")
		written++
		return strings.Contains(p.stderr.String(), "ring b gets no more")
	})
	a.prints(written)
	require.NoError(t, p.stdin.Close())
	p.ends(1)
	a.ends(8) // for the producer ends with an error
	held := sender(t, &shmring.Options{Dir: dir})
	busy := start(t, dir, "producer", []string{"-ring", "c", "-also", "r"})
	busy.ends(7)
	require.Contains(t, busy.stderr.String(), "-also r: ")
	require.NoError(t, held.Close())
}

func TestUsageOfAlso(t *testing.T) {
	dir := ringDir(t)
	for args, want := range map[string]string{
		"-also b=lose":                  "want RING, RING=block, RING=drop or RING=disconnect",
		"-also b -also b=drop":          "it is given twice",
		"-also r":                       "that is -ring",
		"-also a/b":                     "only A-Z",
		"-also b -full fail":            "-full block or drop",
		"-also b -no-consumer fail":     "-no-consumer wait",
		"-also b -generate 3":           "about input",
		"-also b -timeout 1s -batch 0 ": "want 1 to",
	} {
		p := producer(t, dir, args)
		p.ends(2)
		require.Contains(t, p.stderr.String(), want, args)
	}
}
