package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// noInsisting lets go of what the gate insists on elsewhere: a ring without a name refuses it.
func noInsisting(t *testing.T) {
	t.Helper()
	t.Setenv(shmring.EnvLocks, "")
	if os.Getenv(shmring.EnvDoorbell) == "sysv" {
		t.Setenv(shmring.EnvDoorbell, "")
	}
}

// empty makes sure that no file is in the directory.
func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// overUnix starts a program with -unix.
func overUnix(t *testing.T, dir, program, path, args string, setups ...setup) *process {
	t.Helper()
	return start(t, dir, program, append([]string{"-unix", path}, strings.Fields(args)...), setups...)
}

// Either may start first, and nothing of the ring has a name.
func TestUnixTransfer(t *testing.T) {
	for _, producerFirst := range []bool{false, true} {
		for _, abstract := range []bool{false, true} {
			t.Run(fmt.Sprint("producer first ", producerFirst, ", abstract ", abstract), func(t *testing.T) {
				noInsisting(t)
				dir := ringDir(t)
				path := filepath.Join(t.TempDir(), "s")
				if abstract {
					path = "@shmring-e2e-" + filepath.Base(filepath.Dir(path)) + filepath.Base(dir)
				}
				var p, c *process
				if producerFirst {
					p = overUnix(t, dir, "producer", path, "")
					p.says("producer: waiting for a consumer at " + path)
				}
				c = overUnix(t, dir, "consumer", path, "")
				if !producerFirst {
					p = overUnix(t, dir, "producer", path, "")
				}
				p.write("one\ntwo\n")
				c.prints(2)
				empty(t, dir)
				require.NoError(t, p.stdin.Close())
				p.ends(0)
				c.ends(0)
				require.Equal(t, "one\ntwo\n", c.stdout.String())
				if !abstract {
					empty(t, filepath.Dir(path))
				}
				empty(t, dir)
			})
		}
	}
}

// Many producers come and go, as on a ring with a name; a generated load arrives whole.
func TestUnixManyProducers(t *testing.T) {
	noInsisting(t)
	dir, path := ringDir(t), filepath.Join(t.TempDir(), "s")
	c := overUnix(t, dir, "consumer", path, "-kind mpsc -producers 3 -verify -json")
	for range 3 {
		overUnix(t, dir, "producer", path, "-generate 10000 -size 8-200").ends(0)
	}
	c.ends(0)
	totals := c.totals()
	require.EqualValues(t, 30000, totals.Messages)
	require.Equal(t, path, totals.Ring)
}

// A producer whose consumer has gone ends: one that comes later makes another ring. What a
// killed consumer leaves, its socket, the next one takes away.
func TestUnixConsumerIsKilled(t *testing.T) {
	noInsisting(t)
	dir, path := ringDir(t), filepath.Join(t.TempDir(), "s")
	c := overUnix(t, dir, "consumer", path, "")
	p := overUnix(t, dir, "producer", path, "")
	p.write("one\n")
	c.prints(1)
	c.kill()
	eventually(t, "end of the producer", func() bool {
		select {
		case <-p.ended:
			return true
		default:
			_, _ = p.stdin.Write([]byte("more\n"))
			return false
		}
	})
	p.ends(9)
	next := overUnix(t, dir, "consumer", path, "")
	overUnix(t, dir, "producer", path, "", stdin(strings.NewReader("two\n"))).ends(0)
	next.ends(0)
	require.Equal(t, "two\n", next.stdout.String())
	empty(t, filepath.Dir(path))
	empty(t, dir)
}

// There is one consumer at a path; another waits for the role if it is told to.
func TestUnixSecondConsumer(t *testing.T) {
	noInsisting(t)
	dir, path := ringDir(t), filepath.Join(t.TempDir(), "s")
	first := overUnix(t, dir, "consumer", path, "")
	p := overUnix(t, dir, "producer", path, "-no-end")
	p.write("one\n")
	first.prints(1)
	refused := overUnix(t, dir, "consumer", path, "")
	refused.ends(7)
	require.Contains(t, refused.stderr.String(), "there is a consumer already at "+path)
	second := overUnix(t, dir, "consumer", path, "-wait-for-role")
	second.says("consumer: waiting for the role: there is a consumer already at " + path)
	late := overUnix(t, dir, "consumer", path, "-wait-for-role -timeout 20ms")
	late.ends(5)
	first.signal(syscall.SIGTERM)
	first.ends(0)
	require.NoError(t, p.stdin.Close())
	overUnix(t, dir, "producer", path, "", stdin(strings.NewReader("two\n"))).ends(0)
	second.ends(0)
	require.Equal(t, "two\n", second.stdout.String())
}

func TestUnixUsage(t *testing.T) {
	noInsisting(t)
	dir, path := ringDir(t), filepath.Join(t.TempDir(), "s")
	for args, want := range map[string]string{
		"-unix s -ring r":         "-ring is about rings with a name",
		"-unix s -dir d":          "-dir is about rings with a name",
		"-unix s -create":         "-create is about rings with a name",
		"-unix s -doorbell sysv":  "leaves something behind",
		"-ring r -allow-uid 0":    "-allow-uid is about -unix",
		"-unix s -allow-uid root": "want user numbers",
	} {
		c := start(t, dir, "consumer", strings.Fields(args))
		c.ends(2)
		require.Contains(t, c.stderr.String(), want)
	}
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	c := overUnix(t, dir, "consumer", path, "")
	c.ends(1)
	require.Contains(t, c.stderr.String(), "is no socket")
	require.FileExists(t, path)
}

// Who is not allowed gets nothing, and both sides say so.
func TestUnixCredentials(t *testing.T) {
	noInsisting(t)
	dir, path := ringDir(t), filepath.Join(t.TempDir(), "s")
	c := overUnix(t, dir, "consumer", path, fmt.Sprint("-allow-uid ", os.Geteuid()+1))
	p := overUnix(t, dir, "producer", path, "", stdin(strings.NewReader("x\n")))
	p.ends(1)
	require.Contains(t, p.stderr.String(), "perhaps it does not allow us")
	c.says(fmt.Sprintf("uid %d, gid %d did not get the ring: -allow-uid says who may", os.Geteuid(), os.Getegid()))
	c.signal(syscall.SIGTERM)
	c.ends(0)
	require.Empty(t, c.stdout.String())
}
