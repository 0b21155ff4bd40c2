package runner

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/bench/internal/work"
)

// script writes a peer in shell, whose body runs when it has been described.
func script(t *testing.T, dir, name, body string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	text := "#!/bin/sh\n[ \"$1\" = describe ] && " +
		"{ echo '{\"about\":\"a test\",\"works\":[\"stream\"],\"max\":4096}'; exit; }\n" +
		"for a; do case $a in role=*) role=${a#role=};; dir=*) dir=${a#dir=};; esac; done\n" + body + "\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o755))
	return path
}

// onlyPeer is the one peer of a folder.
func onlyPeer(t *testing.T, dir string) *Transport {
	t.Helper()
	good, bad, err := Peers(t.Context(), dir)
	require.NoError(t, err)
	require.Empty(t, bad)
	require.Len(t, good, 1)
	return good[0]
}

// The example of PEERS.md does what that says, in both works, and its figures are taken.
func TestExamplePeer(t *testing.T) {
	ctx, c := newRunner(t)
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is not installed: apt-get install gcc libc6-dev")
	}
	dir := t.TempDir()
	build := exec.CommandContext(ctx, compiler, "-O2", "-Wall", "-Werror", "-o", filepath.Join(dir, "example"),
		"../../peers/example.c")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	p := onlyPeer(t, dir)
	require.Equal(t, "peer-example", p.Name)
	require.Equal(t, Processes, p.Where)
	require.True(t, p.Does("rtt", 8))
	require.False(t, p.Does("rtt", 65536), "it said up to 4096")
	require.False(t, p.Does("mpsc", 32))
	for _, w := range []string{"rtt", "stream"} {
		for _, size := range []int{8, 1016, 4096} {
			results, err := c.Run(ctx, p, work.Job{Work: w, Size: size, Count: 640}, nil)
			require.NoError(t, err, "%s of %d bytes", w, size)
			require.EqualValues(t, 640, results[0].Messages)
			require.EqualValues(t, 640, results[1].Messages)
			which := map[string]int{"rtt": 1, "stream": 0}[w]
			measured := results[which]
			require.Zero(t, results[1-which].WindowMessages, "the other side does not measure")
			require.Positive(t, measured.WindowNs)
			require.Positive(t, measured.WindowMessages)
			require.Less(t, measured.WindowMessages, uint64(640), "the first do not count")
		}
	}
}

// What peers do wrong is told, by name, and ends soon.
func TestPeersThatFail(t *testing.T) {
	ctx, c := newRunner(t)
	for _, x := range []struct{ name, body, want string }{
		{"exits before it is ready", "echo no such ring >&2; exit 4", "exit status 4: no such ring"},
		{"says something else", "echo hello; exec sleep 1000", `said "hello\n", want ready`},
		{"exits after go", "echo ready; read go; exit 3", "exit status 3"},
		{"ends without results", "echo ready; read go", "ended before it had said what it found"},
		{"nonsense for results", "echo ready; read go; echo 17 apples; exec sleep 1000",
			`said "17 apples\n", want a line of results`},
		{"half a line", "echo ready; read go; printf '[{\"messages\":1'", "ended before it had said what it found"},
		{"no list", "echo ready; read go; echo '{}'; read end", "want a line of results"},
		{"no results", "echo ready; read go; echo '[]'; read end", "0 results, want 1"},
		{"nothing measured", "echo ready; read go; echo '[{\"messages\":5}]'; read end", "0 messages in 0 ns were measured"},
		{"more than all", "echo ready; read go; echo '[{\"messages\":5,\"window_messages\":6,\"window_ns\":9}]'; read end",
			"6 messages were measured, of 5 in all"},
		{"longer than it lived",
			"echo ready; read go; echo '[{\"messages\":5,\"window_messages\":5,\"window_ns\":999999999999}]'; read end",
			"more than the worker has lived"},
		{"negative", "echo ready; read go; echo '[{\"messages\":-5}]'; read end", "want a line of results"},
		{"loses messages", "echo ready; read go; n=5; [ $role = send ] && n=6; " +
			"echo '[{\"messages\":'$n',\"window_messages\":5,\"window_ns\":9}]'; read end; exit 0",
			"6 messages were sent, and 5 arrived"},
		{"ends with a status", "echo ready; read go; echo '[{\"messages\":5,\"window_messages\":5,\"window_ns\":9}]'; " +
			"read end; exit 9", "exit status 9"},
	} {
		dir := t.TempDir()
		script(t, dir, "peer", x.body)
		_, err := c.Run(ctx, onlyPeer(t, dir), work.Job{Work: "stream", Size: 8, Count: 5}, nil)
		require.ErrorContains(t, err, x.want, x.name)
		require.ErrorContains(t, err, "peer-peer", x.name)
		var hang *HangError
		require.False(t, errors.As(err, &hang), x.name)
	}
}

// One that hangs is killed with what it has started, whose descriptors keep nobody waiting.
func TestPeerThatHangs(t *testing.T) {
	ctx, c := newRunner(t)
	dir, kept := t.TempDir(), t.TempDir()
	script(t, dir, "hangs", "sleep 1000 & echo $! > "+kept+"/$role; echo ready; read go; wait")
	_, err := c.Run(ctx, onlyPeer(t, dir), work.Job{Work: "stream", Size: 8, For: time.Millisecond}, nil)
	var hang *HangError
	require.ErrorAs(t, err, &hang)
	require.ErrorContains(t, err, "not done after 5.001s, killed")
	require.NoError(t, ctx.Err())
	for _, role := range []string{"send", "recv"} {
		pid, err := os.ReadFile(filepath.Join(kept, role))
		require.NoError(t, err)
		// Killed, it is a zombie at most, until whoever inherited it looks.
		require.Eventually(t, func() bool {
			stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
			return err != nil || strings.Contains(string(stat), ") Z ")
		}, 10*time.Second, 10*time.Millisecond, "what the %s started is still there", role)
	}
}

// A worker of a peer sees one processor from its birth, and no cpus to go to.
func TestPeersAreBornOnTheirProcessor(t *testing.T) {
	ctx, c := newRunner(t)
	dir, kept := t.TempDir(), t.TempDir()
	script(t, dir, "looks", "grep Cpus_allowed_list /proc/self/status > "+kept+"/$role; echo \"$*\" > "+kept+"/args; "+
		"echo ready; read go; echo '[{\"messages\":5,\"window_messages\":5,\"window_ns\":9}]'; read end; exit 0")
	_, err := c.Run(ctx, onlyPeer(t, dir), work.Job{Work: "stream", Size: 8, Count: 5}, []int{0, 0})
	require.NoError(t, err)
	for _, role := range []string{"send", "recv"} {
		said, err := os.ReadFile(filepath.Join(kept, role))
		require.NoError(t, err)
		require.Equal(t, []string{"Cpus_allowed_list:", "0"}, strings.Fields(string(said)))
	}
	args, err := os.ReadFile(filepath.Join(kept, "args"))
	require.NoError(t, err)
	require.Contains(t, strings.Fields(string(args)), "cpus=")
	require.Contains(t, strings.Fields(string(args)), "work=stream")
}

func TestWhatIsNoPeer(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), mode))
	}
	describe := func(said string) string { return "#!/bin/sh\necho '" + said + "'\n" }
	write("a-text", "hello", 0o644)
	write("b-no-program", "\x00\x01", 0o755)
	write("c-nonsense", describe("hello"), 0o755)
	write("d-fails", "#!/bin/sh\necho broken >&2\nexit 3\n", 0o755)
	write("e-other-work", describe(`{"works":["chess"],"max":8}`), 0o755)
	write("f-no-work", describe(`{"max":8}`), 0o755)
	write("g-no-size", describe(`{"works":["rtt"]}`), 0o755)
	write("h-where", describe(`{"works":["rtt"],"max":8,"where":"moon"}`), 0o755)
	require.NoError(t, os.Mkdir(filepath.Join(dir, "i-folder"), 0o755))
	write(".hidden", "", 0o644)
	write("z-good", describe(`{"works":["rtt"],"max":8,"where":"threads"}`), 0o755)
	good, bad, err := Peers(t.Context(), dir)
	require.NoError(t, err)
	require.Len(t, good, 1)
	require.Equal(t, "peer-z-good", good[0].Name)
	require.Equal(t, Threads, good[0].Where)
	want := []string{"is not executable: chmod +x", "cannot be run", `describe said "hello\n"`, "exit status 3 broken",
		`no work "chess"`, "no works", "sizes from 0 to 0", `where is "moon"`, "is a folder"}
	require.Len(t, bad, len(want))
	for i, b := range bad {
		require.Contains(t, b.Reason, want[i], b.Name)
	}
	_, _, err = Peers(t.Context(), filepath.Join(dir, "nowhere"))
	require.ErrorContains(t, err, "-peers")
}
