package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/workers"
)

func TestFullRing(t *testing.T) {
	const hundred = 100
	for _, kind := range []string{"spsc", "mpsc"} {
		room := 8 // as many messages fit
		if kind == "spsc" {
			room = 255 // of 16 bytes with their words, and a word is kept free
		}
		t.Run("fail/"+kind, func(t *testing.T) {
			t.Parallel()
			dir := ringDir(t)
			p := producer(t, dir, "-json -slots 8 -full fail -no-end -kind "+kind,
				stdin(strings.NewReader(numbered("x", 0, 3*hundred))))
			p.ends(cli.Full)
			require.EqualValues(t, room, p.totals().Messages)
			require.EqualValues(t, 1, p.totals().Full)
			require.Contains(t, p.totals().Error, fmt.Sprintf("ring is full after %d messages: start a consumer", room))
		})
		for _, batch := range []string{"1", "50"} {
			t.Run("drop/"+kind+"/"+batch, func(t *testing.T) {
				t.Parallel()
				dir := ringDir(t)
				p := producer(t, dir, "-json -slots 8 -full drop -no-end -batch "+batch+" -kind "+kind,
					stdin(strings.NewReader(numbered("x", 0, hundred))))
				p.ends(0)
				sent := p.totals().Messages
				require.EqualValues(t, hundred, sent+p.totals().Dropped)
				require.Equal(t, p.totals().Dropped, p.totals().Full)
				q := consumer(t, dir, fmt.Sprintf("-json -count %d", sent))
				q.ends(0)
				require.Equal(t, numbered("x", 0, 8), q.stdout.String()[:len(numbered("x", 0, 8))])
				require.Equal(t, sent, q.totals().Messages)
			})
		}
		t.Run("wait/"+kind, func(t *testing.T) {
			t.Parallel()
			dir := ringDir(t)
			p := producer(t, dir, "-json -slots 8 -timeout 50ms -kind "+kind,
				stdin(strings.NewReader(numbered("x", 0, 3*hundred))))
			p.ends(cli.TimedOut)
			require.Contains(t, p.totals().Error, "the ring was full for all of -timeout")
			require.EqualValues(t, room, p.totals().Messages)
		})
	}
}

// The end of a stream needs no room.
func TestEndOnAFullRing(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 8 -full drop", stdin(strings.NewReader(numbered("x", 0, 300)))).ends(0)
	q := consumer(t, dir, "")
	q.ends(0)
	require.Equal(t, numbered("x", 0, 255), q.stdout.String())
}

func TestConsumerTimeouts(t *testing.T) {
	dir := ringDir(t)
	q := consumer(t, dir, "-timeout 50ms")
	q.ends(cli.TimedOut)
	require.Contains(t, q.stderr.String(), `there was no ring "r" for 50ms`)

	q = consumer(t, dir, "-create -timeout 50ms")
	q.ends(cli.TimedOut)
	require.Contains(t, q.stderr.String(), "nothing arrived for 50ms")

	producer(t, dir, "-no-end", stdin(strings.NewReader("a\nb\n"))).ends(0)
	q = consumer(t, dir, "-timeout 50ms -json")
	q.ends(cli.TimedOut)
	require.Equal(t, "a\nb\n", q.stdout.String(), "what is there comes before the timeout")
	require.EqualValues(t, 2, q.totals().Messages)
}

func TestLongLine(t *testing.T) {
	dir := ringDir(t)
	in := "short\n" + strings.Repeat("x", 1000) + "\nnever\n"
	p := producer(t, dir, "-max-message 500 -long fail", stdin(strings.NewReader(in)))
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(),
		"producer: standard input: line 2 has 1000 bytes, more than 500, the longest message this ring takes: "+
			"make the ring with a larger -max-message, or send lines with -long split and anything with "+
			"-frame chunk=BYTES\n")
	q := consumer(t, dir, "")
	q.ends(cli.Cut) // it is not to take this for the whole
	require.Equal(t, "short\n", q.stdout.String(), "what came before it is sent")
}

// A line that no message can hold does not end a shipper, and is counted.
func TestLongLinesDoNotEndAProducer(t *testing.T) {
	const most = 500
	exact, long := strings.Repeat("e", most), strings.Repeat("x", most)
	in := "first\n" + exact + "\n" + long + "y\n\n" + long + long + "\nlast\n" + long + "no newline"
	split := "first\n" + exact + "\n" + long + "\ny\n\n" + long + "\n" + long + "\nlast\n" + long + "\nno newline\n"
	for args, want := range map[string]string{
		"":            split,
		"-long split": split,
		"-long cut":   "first\n" + exact + "\n" + long + "\n\n" + long + "\nlast\n" + long + "\n",
		"-long skip":  "first\n" + exact + "\n\nlast\n",
	} {
		for _, batch := range []string{"", " -batch 10"} {
			t.Run(args+batch, func(t *testing.T) {
				t.Parallel()
				dir := ringDir(t)
				p := producer(t, dir, "-json -max-message 500 "+args+batch, stdin(strings.NewReader(in)))
				q := consumer(t, dir, "")
				p.ends(0)
				q.ends(0)
				require.Equal(t, want, q.stdout.String())
				require.EqualValues(t, 3, p.totals().LongLines)
				require.EqualValues(t, strings.Count(want, "\n"), p.totals().Messages)
			})
		}
	}
	p := producer(t, ringDir(t), "-max-message 500 -long cut", stdin(strings.NewReader(in)))
	p.ends(0)
	require.Contains(t, p.stderr.String(), "producer: standard input: line 3 is longer than 500 bytes, the longest "+
		"message this ring takes: -long cut; the summary counts such lines\n")
	require.Equal(t, 1, strings.Count(p.stderr.String(), " is longer than "), "it is told once")
	require.Contains(t, p.stderr.String(), ", 3 lines longer than its messages")
}

func TestTruncatedInput(t *testing.T) {
	p := producer(t, ringDir(t), "-frame len32", stdin(strings.NewReader("\x05\x00\x00\x00abc")))
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(), "input ends inside record 1: 7 of its 9 bytes are there")
}

func TestRingThatIsTooSmallForTheChunks(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-max-message 1000").stdin.Close()
	watch(t, dir).producers(0)
	for _, args := range []string{"-frame chunk=1001", "-generate 1 -size 8-1001"} {
		p := producer(t, dir, args)
		p.ends(cli.Failed)
		require.Contains(t, p.stderr.String(), "message of 1001 bytes is too large: this ring takes at most 1000")
	}
}

func TestRolesThatAreTaken(t *testing.T) {
	dir := ringDir(t)
	first := producer(t, dir, "")
	watch(t, dir).producers(1)
	p := producer(t, dir, "")
	p.ends(cli.Busy)
	require.Contains(t, p.stderr.String(), fmt.Sprintf("there is a producer already (pid %d)", first.cmd.Process.Pid))

	p = producer(t, dir, "-slots 16")
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(), "ring has slots 8192, options ask for 16")
}

func TestDamagedFiles(t *testing.T) {
	dir := ringDir(t)
	first := producer(t, dir, "")
	first.stdin.Close()
	first.ends(0)
	name := filepath.Join(dir, "r.shmring")
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	sound := make([]byte, 1)
	_, err = f.ReadAt(sound, 64) // geometry, under the checksum
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{^sound[0]}, 64)
	require.NoError(t, err)
	for _, p := range []*process{producer(t, dir, ""), consumer(t, dir, "")} {
		p.ends(cli.Corrupt)
		require.Contains(t, p.stderr.String(), name)
		require.Contains(t, p.stderr.String(), "corrupt")
	}
	_, err = f.WriteAt(sound, 64)
	require.NoError(t, err)
	require.NoError(t, workers.RemoveRings(dir)) // with its semaphores, which only a sound header names
	require.NoError(t, os.WriteFile(name, []byte(strings.Repeat("no ring ", 200)), 0o600))
	q := consumer(t, dir, "")
	q.ends(cli.Failed)
	require.Contains(t, q.stderr.String(), "not a shmring segment")
}

func TestMissingFilesAreNoticedBeforeAnythingIsSent(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, file(t, []byte("a\n"))+" "+filepath.Join(dir, "missing"))
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(), "missing: no such file or directory")
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestJSONOfBothSidesAgrees(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-json -kind mpsc", stdin(strings.NewReader(numbered("x", 0, 5000))))
	q := consumer(t, dir, "-json")
	p.ends(0)
	q.ends(0)
	sent, got := p.totals(), q.totals()
	require.EqualValues(t, 5000, sent.Messages)
	require.Equal(t, sent.Messages, got.Messages)
	require.Equal(t, sent.Bytes, got.Bytes)
	require.EqualValues(t, len(numbered("x", 0, 5000))-5000, got.Bytes)
	require.True(t, sent.Created)
	require.False(t, got.Created)
	require.Zero(t, got.Redelivered+got.Skipped+got.Deaths+got.TimeoutWakeups+sent.TimeoutWakeups)
	require.Positive(t, got.Seconds)
	require.InEpsilon(t, float64(got.Messages)/got.Seconds, got.PerSecond, 1e-9)
	require.Equal(t, "r", got.Ring)
}

func TestSummaryAndSilence(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "", stdin(strings.NewReader("a\nbc\n")))
	p.ends(0)
	require.Regexp(t, `^producer: 2 messages, 3 B in .*\n$`, p.stderr.String())
	q := consumer(t, dir, "-quiet")
	q.ends(0)
	require.Empty(t, q.stderr.String())
}
