package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

func command(t *testing.T, dir, args string) *process {
	t.Helper()
	return start(t, dir, "shmring", strings.Fields(args))
}

// What the dead left is shown and cleared; a ring in use is left alone.
func TestRecoverAndRemove(t *testing.T) {
	dir := ringDir(t)
	p := command(t, dir, "recover r")
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(), "no such file")

	dead := producer(t, dir, "-ring r -kind mpsc -slots 16")
	fmt.Fprintln(dead.stdin, "one")
	spy := watch(t, dir)
	spy.producers(1)
	eventually(t, "message", func() bool { return spy.view.Hot.Tail.Load() != 0 })
	for _, args := range []string{"recover r", "remove r"} {
		p := command(t, dir, args)
		p.ends(cli.Busy)
		require.Equal(t, 1, strings.Count(p.stderr.String(), "\n"), p.stderr)
	}
	require.NoError(t, dead.cmd.Process.Kill())
	<-dead.ended
	require.NoError(t, spy.seg.Close())

	p = command(t, dir, "recover -json r")
	p.ends(0)
	var got shmring.Recovery
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &got))
	require.Len(t, got.Dead, 1)
	require.Equal(t, dead.cmd.Process.Pid, got.Dead[0].PID)
	require.Equal(t, 1, got.Used)
	p = command(t, dir, "recover r")
	p.ends(0)
	require.Contains(t, p.stdout.String(), "0 unfinished claims given up, 1 slots wait for a consumer")
	p = command(t, dir, "force-skip r 0")
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(),
		"nothing was skipped: shmring: no unfinished claim there: position 0: it is finished")
	p = command(t, dir, "remove r")
	p.ends(0)
	require.Equal(t, "removed r\n", p.stdout.String())
	p = command(t, dir, "remove r")
	p.ends(cli.Failed)
}

// A producer that is stopped with a claim open is passed over by force.
func TestForceSkip(t *testing.T) {
	dir := ringDir(t)
	o := &shmring.Options{Dir: dir, Kind: shmring.KindMPSC, Slots: 16}
	p, err := shmring.OpenProducer(t.Context(), "r", o)
	require.NoError(t, err)
	defer p.Close()
	claim, err := p.TryClaim(10)
	require.NoError(t, err)
	require.NoError(t, p.TrySend([]byte("behind")))
	c := consumer(t, dir, "-ring r")
	notice := fmt.Sprintf(
		`its producer (pid %d) has begun and not finished; "shmring force-skip r 0" gives it up`,
		unix.Getpid(),
	)
	eventually(t, "notice", func() bool { return strings.Contains(c.stderr.String(), notice) })
	skip := command(t, dir, "force-skip r 0")
	skip.ends(0)
	require.Contains(t, skip.stdout.String(),
		fmt.Sprintf("gave up the claim of 1 slots at 0 by producer 1 (pid %d)", unix.Getpid()))
	eventually(t, "message", func() bool { return c.stdout.String() == "behind\n" })
	require.ErrorIs(t, claim.Commit(), shmring.ErrRevoked)
}

// Without a position the claim is looked for, shown, and given up with -yes.
func TestForceSkipFindsTheClaim(t *testing.T) {
	dir := ringDir(t)
	o := &shmring.Options{Dir: dir, Kind: shmring.KindMPSC, Slots: 16}
	p, err := shmring.OpenProducer(t.Context(), "r", o)
	require.NoError(t, err)
	defer p.Close()
	none := command(t, dir, "force-skip -yes r")
	none.ends(1)
	require.Contains(t, none.stderr.String(), "no claim is open")
	require.NoError(t, p.TrySend([]byte("before")))
	claim, err := p.TryClaim(10)
	require.NoError(t, err)
	require.NoError(t, p.TrySend([]byte("behind")))
	second, err := p.TryClaim(10)
	require.NoError(t, err)
	c := consumer(t, dir, "-ring r")
	c.prints(1)
	asks := command(t, dir, "force-skip r")
	asks.ends(1)
	found := fmt.Sprintf("the claim at 1, 1 slots, of producer 1, pid %d (process there), open for 1", unix.Getpid())
	require.Contains(t, asks.stderr.String(), found)
	require.Contains(t, asks.stderr.String(), "-yes gives it up")
	skip := command(t, dir, "force-skip -yes r")
	skip.ends(0)
	require.Contains(t, skip.stdout.String(), found)
	require.Contains(t, skip.stdout.String(), "gave up the claim of 1 slots at 1 by producer 1")
	require.Contains(t, skip.stdout.String(), "1 more claims were open")
	c.prints(2)
	require.Equal(t, "before\nbehind\n", c.stdout.String())
	require.ErrorIs(t, claim.Commit(), shmring.ErrRevoked)
	defer second.Abort()
	again := command(t, dir, "force-skip -yes -json r")
	again.ends(7)
	require.Contains(t, again.stdout.String(), "is revoked already")
}

// The claims of the dead, and of spsc rings, are nobody's business.
func TestForceSkipLeavesOthersAlone(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "", stdin(strings.NewReader("1\n"))).ends(0)
	spsc := command(t, dir, "force-skip -yes r")
	spsc.ends(1)
	require.Contains(t, spsc.stderr.String(), "this one is spsc")
	gone := command(t, dir, "force-skip -yes none")
	gone.ends(1)
	bad := command(t, dir, "force-skip r x")
	bad.ends(2)
	require.Contains(t, bad.stderr.String(), "want a number of slots")
	command(t, dir, "force-skip").ends(2)
}

// With -at-most-once nothing is written twice.
func TestAtMostOnce(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-ring r -slots 64 -generate 0 -size 20")
	for range 5 {
		c := consumer(t, dir, "-ring r -at-most-once -json -verify")
		watch(t, dir).hasConsumer()
		time.Sleep(10 * time.Millisecond) // when it dies is up to chance
		require.NoError(t, c.cmd.Process.Kill())
		<-c.ended
	}
	require.NoError(t, p.cmd.Process.Signal(unix.SIGINT))
	c := consumer(t, dir, "-ring r -at-most-once -json")
	p.ends(0)
	c.ends(0)
	require.Zero(t, c.totals().Redelivered)
}

// A deployment with another geometry, messages waiting.
func TestResize(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 64 -max-message 300 -no-end", stdin(strings.NewReader("1\n2\n3\n"))).ends(0)
	path := filepath.Join(dir, "r.shmring")
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"resize -slots 128 r", 0, path + ": had 64 slots of 256 bytes for messages of up to 300 bytes, max producers 1\n" +
			path + ": has 128 slots of 256 bytes for messages of up to 300 bytes, max producers 1, and takes 40960 bytes; " +
			"1 slots waited for a consumer\n"},
		{"resize -slots 128 r", 0, path + ": nothing to do: it has 128 slots of 256 bytes for messages of up to 300 bytes, " +
			"max producers 1\n"},
		{"resize -slots 100 r", cli.Usage, "shmring resize: -slots is 100, want a power of two, 8 to 1073741824\n"},
		{"resize -slot-size 0 r", cli.Usage, "shmring resize: -max-message is 300, want 0 to 48, what 128 slots of 0 bytes " +
			"can carry\n"},
		{"resize -slot-size 0 -max-message 48 -slots 8 r", 0, "has 8 slots of 0 bytes for messages of up to 48 bytes"},
		{"resize -max-producers 2 r", cli.Usage, "shmring resize: -max-producers is 2, want 1 with -kind spsc\n"},
		{"resize -slots 16 s", cli.Failed, "s.shmring: no such file or directory\n"},
	} {
		p := command(t, dir, c.args)
		p.ends(c.code)
		require.Contains(t, p.stdout.String()+p.stderr.String(), c.says)
	}
	seq := producer(t, dir, "-no-end", stdin(strings.NewReader("4\n5\n6\n7\n8\n")))
	seq.ends(0)
	p := command(t, dir, "resize -slots 8 -slot-size 64 -json r")
	p.ends(0)
	var r shmring.Resized
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &r))
	require.Equal(t, 64, r.Is.SlotSize)
	require.Equal(t, 2, r.Used)

	q := consumer(t, dir, "-create")
	q.prints(8)
	p = command(t, dir, "resize -slots 64 r")
	p.ends(cli.Busy)
	require.Contains(t, p.stderr.String(), "not resized: a process has it open")
	q.signal(os.Interrupt)
	q.ends(0)
	require.Equal(t, "1\n2\n3\n4\n5\n6\n7\n8\n", q.stdout.String())
}

// What does not fit is an error with its numbers, and stays.
func TestResizeThatDoesNotFit(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 16 -max-message 300", stdin(strings.NewReader(numbered("x", 0, 200)))).ends(0)
	p := command(t, dir, "resize -slots 8 r")
	p.ends(cli.Failed)
	require.Equal(t, "shmring resize: ring r: not resized: what is in the ring needs 13 slots, and there would be 8: "+
		"ask for more, or let a consumer take what is in the ring first\n", p.stderr.String())
	q := consumer(t, dir, "-quiet")
	q.ends(0)
	require.Equal(t, numbered("x", 0, 200), q.stdout.String())
}
