package e2e

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
)

func TestSignalEndsAProducerThatWaitsForInput(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		for _, frame := range []string{"line", "chunk=4", "chunk=65536"} {
			dir := ringDir(t)
			p := producer(t, dir, "-drain 0s -frame "+frame)
			q := consumer(t, dir, "-frame chunk=1")
			p.write("abcd\nefgh\nno newline")
			want := "abcdefgh"
			if frame != "line" {
				want = "abcd\nefgh\nno newline"
			}
			// What was read before the signal is sent; small chunks and lines are at once.
			if frame == "line" {
				q.until(q.stdout, "two lines", func(s string) bool { return s == want })
			} else if frame == "chunk=4" {
				q.until(q.stdout, "five chunks", func(s string) bool { return len(s) == len(want)/4*4 })
			} else {
				watch(t, dir).producers(1)
				eventuallyEmpty(t, p)
			}
			p.signal(s)
			p.ends(0)
			q.ends(cli.Cut)
			require.Equal(t, want, q.stdout.String(), frame)
			if frame == "line" {
				require.Contains(t, p.stderr.String(),
					"interrupted inside a record: the 10 bytes of it that were read are not sent")
			}
		}
	}
}

// eventuallyEmpty waits until a process has read its standard input to the last byte.
func eventuallyEmpty(t *testing.T, p *process) {
	t.Helper()
	f := p.stdin.(*os.File)
	eventually(t, "empty pipe", func() bool { return queued(t, f) == 0 })
}

func TestSignalMakesAConsumerTakeWhatIsThere(t *testing.T) {
	dir := ringDir(t)
	q := consumer(t, dir, "-create")
	watch(t, dir).hasConsumer()
	q.signal(syscall.SIGSTOP)
	producer(t, dir, "-no-end", stdin(strings.NewReader(numbered("x", 0, 5000)))).ends(0)
	q.signal(syscall.SIGTERM)
	q.signal(syscall.SIGCONT)
	q.ends(0)
	require.Equal(t, numbered("x", 0, 5000), q.stdout.String())
	require.Contains(t, q.stderr.String(), "consumer: 5000 messages")
}

// A producer that never pauses does not keep an interrupted consumer.
func TestSignalEndsAConsumerUnderLoad(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-generate 0 -kind mpsc -size 100")
	q := consumer(t, dir, "-verify -json")
	watch(t, dir).consumed(50000)
	q.signal(os.Interrupt)
	q.ends(0)
	require.Positive(t, q.totals().Messages)
	rest := consumer(t, dir, "-verify -json")
	watch(t, dir).hasConsumer()
	p.signal(os.Interrupt)
	p.ends(0)
	rest.ends(0)
	require.Equal(t, 1, rest.totals().Verify.Finished)
}

// What feeds the producer gets the same SIGTERM from those that end services, and says its last
// words then.
func TestTermLetsTheInputEnd(t *testing.T) {
	for _, frame := range []string{"-frame line", "-frame line -batch 10", "-frame chunk=5", "-frame chunk=65536"} {
		t.Run(frame, func(t *testing.T) {
			t.Parallel()
			dir := ringDir(t)
			p := producer(t, dir, "-drain 1h "+frame)
			q := consumer(t, dir, "-frame "+strings.Fields(frame)[1])
			p.write("first\n")
			watch(t, dir).producers(1)
			eventuallyEmpty(t, p)
			p.signal(syscall.SIGTERM)
			p.says("producer: SIGTERM: sending what comes from standard input until it ends, for 1h0m0s at most\n")
			p.write("last\nwords\n")
			require.NoError(t, p.stdin.Close())
			p.ends(0)
			q.ends(0)
			require.Equal(t, "first\nlast\nwords\n", q.stdout.String())
		})
	}
}

func TestTermDoesNotWaitLongerThanDrainSays(t *testing.T) {
	for _, frame := range []string{"line", "chunk=65536"} {
		dir := ringDir(t)
		p := producer(t, dir, "-drain 50ms -frame "+frame)
		watch(t, dir).producers(1)
		p.write("a\n")
		eventuallyEmpty(t, p)
		p.signal(syscall.SIGTERM)
		p.ends(0)
		require.Contains(t, p.stderr.String(), "producer: standard input did not end within 50ms of SIGTERM: "+
			"what comes later is not sent\n")
		q := consumer(t, dir, "")
		q.ends(cli.Cut)
		require.Equal(t, "a\n", strings.Replace(q.stdout.String(), "\n\n", "\n", 1), frame) // a chunk has its own
	}
}

// Ctrl-C is for the producer alone, and a file has no last words.
func TestOtherEndsDoNotDrain(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-drain 1h")
	watch(t, dir).producers(1)
	p.signal(os.Interrupt)
	p.ends(0)

	// The ring holds the file up, and its end is a timeout after the grace and not an hour later.
	dir = ringDir(t)
	p = producer(t, dir, "-drain 1h -kind mpsc -slots 8 "+file(t, []byte(numbered("x", 0, 100))))
	watch(t, dir).full()
	p.signal(syscall.SIGTERM)
	p.ends(cli.TimedOut)
	require.Contains(t, p.stderr.String(), "interrupted, and the ring was full until 2s later")
}

func TestInterruptedProducerWaitsForRoomOnlySoLong(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-kind mpsc -slots 8", stdin(strings.NewReader(numbered("x", 0, 100))))
	watch(t, dir).full()
	begin := time.Now()
	p.signal(os.Interrupt)
	p.ends(cli.TimedOut)
	require.Contains(t, p.stderr.String(), "interrupted, and the ring was full until 2s later")
	require.Less(t, time.Since(begin), 10*time.Second)
}

func TestInterruptedProducerSendsWhatItHasRead(t *testing.T) {
	dir := ringDir(t)
	// The input stays open: else all of it may be sent, and be the whole, before the signal is noticed.
	input, rest, err := os.Pipe()
	require.NoError(t, err)
	defer rest.Close()
	defer input.Close()
	_, err = io.WriteString(rest, numbered("x", 0, 100))
	require.NoError(t, err)
	p := producer(t, dir, "-kind mpsc -slots 8", stdin(input))
	watch(t, dir).full()
	p.signal(os.Interrupt)
	q := consumer(t, dir, "")
	p.ends(0)
	q.ends(cli.Cut) // nobody has seen the end of the input
	require.Equal(t, numbered("x", 0, 100), q.stdout.String())
}

// abort sends one signal after the other to a process that cannot end by itself. Those of the
// first half second are one.
func (p *process) abort() {
	p.t.Helper()
	begin := time.Now()
	p.signal(syscall.SIGTERM)
	eventually(p.t, "end", func() bool {
		select {
		case <-p.ended:
			return true
		default:
			_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may just have ended
			return false
		}
	})
	p.ends(cli.Aborted)
	require.GreaterOrEqual(p.t, time.Since(begin), 500*time.Millisecond)
}

func TestSecondSignalAborts(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-kind mpsc -slots 8 -drain 1h", stdin(strings.NewReader(numbered("x", 0, 100))))
	watch(t, dir).full()
	p.abort()
	require.Equal(t, "producer: SIGTERM: sending what comes from standard input until it ends, for 1h0m0s at most\n"+
		"producer: aborted by a second signal; the next one to open the ring goes on from here\n", p.stderr.String())

	q := consumer(t, dir, "-count 8")
	q.ends(0)
	require.Equal(t, numbered("x", 0, 8), q.stdout.String())

	q = consumer(t, dir, "-follow")
	watch(t, dir).hasConsumer()
	q.signal(os.Interrupt)
	q.ends(0)
}

// stuck is a consumer of so many messages that waits for its output to be read.
func stuck(t *testing.T, dir string, n int, flags string) (q *process, r *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	producer(t, dir, "-slots 65536", stdin(strings.NewReader(numbered("x", 0, n)))).ends(0)
	q = consumer(t, dir, flags, stdout(w))
	full(t, w)
	require.NoError(t, w.Close())
	return q, r
}

// Output that nobody reads cannot be drained into, but left behind.
func TestSecondSignalAbortsAConsumerThatCannotWrite(t *testing.T) {
	dir := ringDir(t)
	q, _ := stuck(t, dir, 50000, "")
	q.abort()
}

// timeout(1) sends SIGTERM to its child and then to the group that it is in. While nothing can be
// written or sent, neither side ends of it.
func TestSignalsThatComeAtOnceAreOne(t *testing.T) {
	dir := ringDir(t)
	q, r := stuck(t, dir, 20000, "-quiet")
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGHUP} {
		q.signal(s)
	}
	require.NoError(t, r.SetReadDeadline(time.Now().Add(deadline)))
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	q.ends(0)
	require.Equal(t, numbered("x", 0, 20000), string(got))
}

func TestSignalWhileWaitingForTheRing(t *testing.T) {
	dir := ringDir(t)
	q := consumer(t, dir, "")
	q.says(`consumer: waiting for ring "r" to be created in ` + dir)
	q.signal(os.Interrupt)
	q.ends(0)
	require.Contains(t, q.stderr.String(), "0 messages")
}
