package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// feed writes numbered lines to a process until it has gone.
func feed(p *process, name string) {
	go func() {
		for i := 0; ; i += 100 {
			if _, err := io.WriteString(p.stdin, numbered(name, i, i+100)); err != nil {
				return
			}
		}
	}()
}

func TestKilledProducerOfAnSPSCRing(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "")
	q := consumer(t, dir, "")
	feed(p, "first")
	q.prints(20000)
	p.kill()
	q.says(fmt.Sprintf(
		"consumer: ring r: producer (pid %d) died without ending its stream: waiting for its successor",
		p.cmd.Process.Pid))
	producer(t, dir, "", stdin(strings.NewReader(numbered("second", 0, 5000)))).ends(0)
	q.ends(0)
	got := lines(q.stdout.String())
	n := len(got) - 5000
	require.GreaterOrEqual(t, n, 20000)
	requireOrdered(t, got[:n], n, "first")
	requireOrdered(t, got[n:], 5000, "second")
}

func TestOnDeathExit(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "")
	q := consumer(t, dir, "-json -on-death exit")
	p.write("a\nb\n")
	q.prints(2)
	p.kill()
	q.ends(cli.PeerDead)
	require.Equal(t, "a\nb\n", q.stdout.String())
	require.EqualValues(t, 1, q.totals().Deaths)
	require.Contains(t, q.totals().Error, "died without ending its stream")
}

func TestKilledProducerOfAnMPSCRing(t *testing.T) {
	dir := ringDir(t)
	stays := producer(t, dir, "-kind mpsc")
	dies := producer(t, dir, "-kind mpsc")
	q := consumer(t, dir, "-json")
	feed(dies, "dies")
	stays.write(numbered("stays", 0, 1000))
	q.prints(20000)
	dies.kill()
	stays.write(numbered("stays", 1000, 2000))
	require.NoError(t, stays.stdin.Close())
	stays.ends(0)
	q.ends(cli.PeerDead) // when all are over: it is not the whole
	next := map[string]int{}
	for _, l := range lines(q.stdout.String()) {
		name, number, _ := strings.Cut(l, " ")
		require.Equal(t, strconv.Itoa(next[name]), number, name)
		next[name]++
	}
	require.Equal(t, 2000, next["stays"])
	require.EqualValues(t, q.totals().Messages, next["stays"]+next["dies"])
}

// A consumer is killed while lines stream through it. Its successor writes what it
// had not released again, and marks that; nothing is missing.
func TestKilledConsumer(t *testing.T) {
	for _, kind := range []string{"spsc", "mpsc"} {
		for _, batch := range []string{"1", "20"} {
			t.Run(kind+"/"+batch, func(t *testing.T) {
				dir := ringDir(t)
				p := producer(t, dir, "-json -kind "+kind+" -batch "+batch)
				out := make([]string, 2)
				stop := make(chan struct{})
				sent := make(chan int)
				go func() {
					for i := 0; ; i += 100 {
						select {
						case <-stop:
							p.stdin.Close()
							sent <- i
							return
						default:
							io.WriteString(p.stdin, numbered("x", i, i+100))
						}
					}
				}()
				first := toFile(t, dir, &out[0])
				ring := watch(t, dir)
				ring.consumed(2000)
				first.kill()
				second := toFile(t, dir, &out[1])
				ring.consumed(ring.position() + 2000)
				close(stop)
				total := <-sent
				p.ends(0)
				second.ends(0)
				require.EqualValues(t, total, p.totals().Messages)

				a, b := lines(readFile(t, out[0])), lines(readFile(t, out[1]))
				require.Equal(t, strings.TrimSpace(numbered("x", 0, len(a))), strings.Join(a, "\n"),
					"what the first one wrote")
				begin, err := strconv.Atoi(strings.TrimPrefix(b[0], "x "))
				require.NoError(t, err)
				require.LessOrEqual(t, begin, len(a), "the second one begins where the first one stopped, or before")
				require.Equal(t, strings.TrimSpace(numbered("x", begin, total)), strings.Join(b, "\n"),
					"what the second one wrote")
				totals := second.totals()
				require.EqualValues(t, total-begin, totals.Messages)
				require.GreaterOrEqual(t, totals.Redelivered, uint64(len(a)-begin), "what came twice is marked")
				require.True(t, totals.TookOver)
			})
		}
	}
}

// toFile starts a consumer that writes to a file of its own; the pipe to a test
// would be one more thing that dies.
func toFile(t *testing.T, dir string, name *string) *process {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer f.Close()
	*name = f.Name()
	return consumer(t, dir, "-json", stdout(f))
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(b)
}

// Both sides are killed again and again under generated load, and every message that
// any consumer sees is right.
func TestKilledAgainAndAgain(t *testing.T) {
	for _, kind := range []string{"spsc", "mpsc"} {
		t.Run(kind, func(t *testing.T) {
			dir := ringDir(t)
			start := func() *process { return producer(t, dir, "-generate 0 -size 0-2000 -kind "+kind) }
			p := start()
			ring := watch(t, dir)
			for round := range 8 {
				q := consumer(t, dir, "-verify -json")
				ring.consumed(ring.position() + 3000)
				if round%2 == 0 {
					p.kill()
					p = start()
					ring.consumed(ring.position() + 3000)
				}
				if round%4 == 1 {
					q.signal(os.Interrupt)
					q.ends(0)
				} else {
					q.kill()
				}
			}
			q := consumer(t, dir, "-verify -json")
			p.signal(os.Interrupt)
			p.ends(0)
			q.ends(0)
			v := q.totals().Verify
			require.GreaterOrEqual(t, v.Finished, 1)
			require.Zero(t, v.Lost+v.Damaged+v.Disordered)
		})
	}
}

func TestOutputThatIsClosedEarly(t *testing.T) {
	dir := ringDir(t)
	r, w, err := os.Pipe()
	require.NoError(t, err)
	const n = 50000
	p := producer(t, dir, "", stdin(strings.NewReader(numbered("x", 0, n))))
	q := consumer(t, dir, "", stdout(w))
	w.Close()
	head := make([]byte, 100)
	_, err = io.ReadFull(r, head)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	q.ends(cli.Failed)
	require.Contains(t, q.stderr.String(), "consumer: whoever reads the output has closed it")

	rest := consumer(t, dir, "-json")
	p.ends(0)
	rest.ends(0)
	got := lines(rest.stdout.String())
	require.Equal(t, strings.TrimSpace(numbered("x", n-len(got), n)), strings.Join(got, "\n"),
		"the rest, without a gap")
	written := 0
	for _, line := range strings.Split(q.stderr.String(), "\n") {
		fmt.Sscanf(line, "consumer: %d messages", &written)
	}
	require.Equal(t, n-len(got), written, "what was not counted as written comes again")
}
