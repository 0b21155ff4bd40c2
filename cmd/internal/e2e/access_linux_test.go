package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

// A ring gets the permissions and the group that were asked for, with its lock files, and says what its
// users are called.
func TestAccess(t *testing.T) {
	dir := ringDir(t)
	p := producer(t, dir, "-perm 660 -group 4711 -label feeder -measure-every 2")
	if os.Geteuid() != 0 {
		p.ends(cli.Failed)
		require.Contains(t, p.stderr.String(), "to group 4711: we must be in it, or root")
		return
	}
	_, err := p.stdin.Write([]byte("one\ntwo\nthree\nfour\n"))
	require.NoError(t, err)
	c := consumer(t, dir, "-label eater -measure-every 2 -any-owner")
	eventually(t, "messages", func() bool { return strings.Count(c.stdout.String(), "\n") == 4 })
	s, err := shmring.Inspect(t.Context(), "r", &shmring.InspectOptions{Dir: dir})
	require.NoError(t, err)
	require.NoError(t, s.Err)
	require.Equal(t, "0660", s.File.Mode)
	require.Equal(t, 4711, s.File.GID)
	require.Equal(t, []string{"eater", "feeder"}, []string{s.Ring.Peers[0].Label, s.Ring.Peers[1].Label})
	require.NotNil(t, s.Ring.Queueing)
	dirs, err := filepath.Glob(filepath.Join(dir, ".shmring-*.locks"))
	require.NoError(t, err)
	for _, d := range dirs { // with SHMRING_LOCKS=flock
		info, err := os.Stat(d)
		require.NoError(t, err)
		require.EqualValues(t, 4711, info.Sys().(*syscall.Stat_t).Gid)
	}
	text := command(t, dir, "inspect -for 0 r")
	text.ends(0)
	require.Contains(t, text.stdout.String(), "waited    ")
	require.Contains(t, text.stdout.String(), ", feeder, since")
	require.NoError(t, p.stdin.Close())
	p.ends(0)
	c.ends(0)

	for args, want := range map[string]string{
		"-perm 666": "no write permission for everybody", "-perm 8": "want permission bits in octal",
		"-perm 0": "want permission bits in octal", "-group nobody-has-this": "no group of that name",
		"-measure-every -1": "want 0 or more", "-unix x -perm 660": "-perm is about rings with a name",
	} {
		p := start(t, dir, "producer", strings.Fields("-ring r2 "+args), stdin(strings.NewReader("")))
		if strings.Contains(args, "-unix") {
			p = start(t, dir, "producer", strings.Fields(args), stdin(strings.NewReader("")))
		}
		p.ends(cli.Usage)
		require.Contains(t, p.stderr.String(), want, args)
	}
}
