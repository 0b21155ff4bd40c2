package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/cmd/internal/cli"
)

// What the help says of -on-death and -producers. Producers come one after the other, each
// sends a line, and then is killed or ends.
func TestDeathsAndEnds(t *testing.T) {
	for _, c := range []struct {
		flags     string // of the consumer
		kind      string
		producers string // K: killed, E: ends
		code      int
	}{
		{"", "spsc", "KE", cli.OK},
		{"-on-death exit", "spsc", "K", cli.PeerDead},
		{"-producers 1", "spsc", "K", cli.PeerDead}, // nobody else comes
		{"-producers 2", "spsc", "KE", cli.PeerDead},
		{"-producers 2", "spsc", "KK", cli.PeerDead},
		{"-producers 2", "spsc", "EE", cli.OK},
		{"-producers 2 -on-death exit", "spsc", "K", cli.PeerDead},
		{"", "mpsc", "KE", cli.PeerDead},
		{"", "mpsc", "KKE", cli.PeerDead},
		{"", "mpsc", "E", cli.OK},
		{"-on-death exit", "mpsc", "K", cli.PeerDead},
		{"-producers 2", "mpsc", "EK", cli.PeerDead},
		{"-producers 2", "mpsc", "KK", cli.PeerDead},
		{"-producers 2", "mpsc", "EE", cli.OK},
		{"-producers 3 -on-death exit", "mpsc", "EK", cli.PeerDead},
	} {
		t.Run(c.kind+" "+c.flags+" "+c.producers, func(t *testing.T) {
			t.Parallel()
			dir := ringDir(t)
			q := consumer(t, dir, "-create -kind "+c.kind+" "+c.flags)
			watch(t, dir).hasConsumer()
			want := ""
			for i, what := range c.producers {
				p := producer(t, dir, "")
				want += fmt.Sprintln(i)
				p.write(fmt.Sprintln(i))
				q.prints(i + 1)
				if what == 'K' {
					p.kill()
					q.says(fmt.Sprintf("producer (pid %d) died without ending its stream", p.cmd.Process.Pid))
				} else {
					require.NoError(t, p.stdin.Close())
					p.ends(0)
				}
			}
			q.ends(c.code)
			require.Equal(t, want, q.stdout.String())
		})
	}
}
