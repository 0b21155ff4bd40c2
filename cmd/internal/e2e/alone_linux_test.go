package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// A producer without a consumer says so when it has to wait, and whoever asked for it ends.
func TestNoConsumer(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-ring r -no-consumer fail")
	p.ends(cli.Alone)
	require.Contains(t, p.stderr.String(), "no consumer is attached")
	require.Equal(t, 1, strings.Count(p.stderr.String(), "\n"), p.stderr)

	c := consumer(t, dir, "-ring r -create")
	watch(t, dir).hasConsumer()
	p = producer(t, dir, "-ring r -no-consumer fail")
	fmt.Fprintln(p.stdin, "one")
	c.prints(1)
	c.kill()
	eventually(t, "the producer ends", func() bool {
		fmt.Fprintln(p.stdin, "two")
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	p.ends(cli.Alone)
}

// Why nothing moves is said after a second.
func TestWhyNothingMoves(t *testing.T) {
	dir := ringDir(t)
	full := producer(t, dir, "-ring r -generate 0 -slots 8")
	full.says("the ring is full and has no consumer: waiting for one")
	c := consumer(t, dir, "-ring r -verify")
	watch(t, dir).hasConsumer()
	c.signal(syscall.SIGSTOP)
	full.says(fmt.Sprintf("the ring is full: its consumer (pid %d) is alive and releases nothing", c.cmd.Process.Pid))
	c.kill()
	full.says(fmt.Sprintf("the ring is full: its consumer (pid %d) has died; waiting for its successor",
		c.cmd.Process.Pid))
	full.kill()

	c = consumer(t, dir, "-ring r -follow")
	c.says("the ring is empty and no producer is attached: waiting for one")
}

func TestNoProducer(t *testing.T) {
	dir := ringDir(t)
	c := consumer(t, dir, "-ring r -create -no-producer fail")
	c.ends(cli.Alone)
	require.Contains(t, c.stderr.String(), "no producer is attached")

	p := producer(t, dir, "-ring r -no-end")
	fmt.Fprintln(p.stdin, "one")
	p.stdin.Close()
	p.ends(0)
	c = consumer(t, dir, "-ring r -no-producer fail")
	c.ends(cli.Alone)
	require.Equal(t, "one\n", c.stdout.String(), "what is there comes first")
}
