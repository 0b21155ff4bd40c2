package e2e

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/load"
)

func TestGeneratedLoadIsVerified(t *testing.T) {
	for _, args := range []string{"-size 0", "-size 5", "-size 8", "-size 64", "-size 0-3000", "-size 40 -rate 100000"} {
		t.Run(args, func(t *testing.T) {
			dir := ringDir(t)
			q := consumer(t, dir, "-verify -json -producers 3")
			var ps []*process
			for range 3 {
				ps = append(ps, producer(t, dir, "-json -kind mpsc -generate 10000 "+args))
			}
			var bytes uint64
			for _, p := range ps {
				p.ends(0)
				bytes += p.totals().Bytes
			}
			q.ends(0)
			totals := q.totals()
			require.EqualValues(t, 3, totals.Verify.Finished)
			require.EqualValues(t, 30000, totals.Verify.Verified)
			require.EqualValues(t, 30000, totals.Messages)
			require.Equal(t, bytes, totals.Bytes)
			require.Empty(t, q.stdout.String())
		})
	}
}

func TestVerifyTellsWhatIsWrong(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "", stdin(strings.NewReader("this line was never generated\n"))).ends(0)
	q := consumer(t, dir, "-verify")
	q.ends(4)
	require.Contains(t, q.stderr.String(), "consumer: producer slot 1: message of 29 bytes")
	require.Contains(t, q.stderr.String(),
		"consumer: verification failed: 0 messages lost, 1 damaged, 0 out of order, of 1")
}

func TestVerifyNoticesAStreamWithoutItsEnd(t *testing.T) {
	dir := ringDir(t)
	p, err := shmring.OpenProducer(context.Background(), "r", &shmring.Options{Dir: dir})
	require.NoError(t, err)
	g := load.NewGenerator(p.Info().Participant, load.Sizes{Min: 64, Max: 64})
	for range 5 {
		b := make([]byte, g.Size())
		g.Fill(b)
		require.NoError(t, p.TrySendKind(b, g.Kind()))
		g.Advance()
	}
	require.NoError(t, p.Close())
	q := consumer(t, dir, "-verify")
	q.ends(4)
	require.Contains(t, q.stderr.String(), "1 of 1 streams lack their last message")
}

func TestVerifyJoinsStreamsThatOthersHaveBegunToReceive(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-generate 10 -no-end").ends(0)
	consumer(t, dir, "-count 11").ends(0) // and its last message
	producer(t, dir, "-generate 10").ends(0)
	consumer(t, dir, "-count 3").ends(0)
	q := consumer(t, dir, "-verify -json")
	q.ends(0)
	require.Equal(t, 1, q.totals().Verify.Joined, "it came after others, so it may begin in the middle")
}

func TestRate(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-json -generate 500 -rate 5000")
	consumer(t, dir, "-verify").ends(0)
	p.ends(0)
	require.Greater(t, p.totals().Seconds, 0.099, "499 gaps of 200 µs")
}
