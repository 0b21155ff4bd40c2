package e2e

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// A rolling update: the second consumer starts before the first has left, says whom it waits
// for, and then gets what comes.
func TestSecondConsumerWaitsForTheRole(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "")
	first := consumer(t, dir, "")
	p.write("one\n")
	first.prints(1)
	quiet := consumer(t, dir, "-wait-for-role -quiet")
	second := consumer(t, dir, "-wait-for-role")
	second.says(fmt.Sprintf("consumer: waiting for the role: there is a consumer already (pid %d)\n",
		first.cmd.Process.Pid))
	quiet.signal(os.Interrupt)
	quiet.ends(0)
	require.Empty(t, quiet.stderr.String())

	first.signal(syscall.SIGTERM)
	first.ends(0)
	require.Equal(t, "one\n", first.stdout.String())
	p.write("two\n")
	second.prints(1)
	require.NoError(t, p.stdin.Close())
	p.ends(0)
	second.ends(0)
	require.Equal(t, "two\n", second.stdout.String())
}

// The stream goes on with the successor of a producer.
func TestSecondProducerWaitsForTheRole(t *testing.T) {
	dir := ringDir(t)
	q := consumer(t, dir, "")
	first := producer(t, dir, "-no-end")
	first.write("one\n")
	q.prints(1)
	second := producer(t, dir, "-wait-for-role", stdin(strings.NewReader("two\n")))
	second.says(fmt.Sprintf("producer: waiting for the role: there is a producer already (pid %d)\n",
		first.cmd.Process.Pid))
	require.NoError(t, first.stdin.Close())
	first.ends(0)
	second.ends(0)
	q.ends(0)
	require.Equal(t, "one\ntwo\n", q.stdout.String())
}

func TestProducersOfAFullTableAreNamed(t *testing.T) {
	dir := ringDir(t)
	a := producer(t, dir, "-kind mpsc -max-producers 2")
	ring := watch(t, dir)
	ring.producers(1)
	b := producer(t, dir, "")
	ring.producers(2)
	third := producer(t, dir, "-wait-for-role")
	third.says(fmt.Sprintf("there are 2 producers already (pids %d, %d)\n", a.cmd.Process.Pid, b.cmd.Process.Pid))
	b.kill()
	ring.producers(2)
	third.write("three\n")
	q := consumer(t, dir, "-count 1 -quiet")
	q.ends(0)
	require.Equal(t, "three\n", q.stdout.String())
}

func TestWaitForTheRoleIsBounded(t *testing.T) {
	dir := ringDir(t)
	first := consumer(t, dir, "-create")
	watch(t, dir).hasConsumer()
	q := consumer(t, dir, "-wait-for-role -timeout 50ms")
	q.ends(cli.TimedOut)
	require.Equal(t, fmt.Sprintf("consumer: ring r: there is a consumer already (pid %d); a ring admits one: "+
		"waited 50ms for the role: timed out\n", first.cmd.Process.Pid), q.stderr.String())
	q = consumer(t, dir, "")
	q.ends(cli.Busy)
}
