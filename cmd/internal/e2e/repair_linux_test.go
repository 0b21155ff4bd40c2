package e2e

import (
	"encoding/json"
	"fmt"
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
