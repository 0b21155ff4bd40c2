//go:build sessions

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
)

// A claimer claims a message, says so, and never finishes it.
func init() {
	programs["claimer"] = func() {
		p, err := shmring.OpenProducer(context.Background(), os.Args[1], &shmring.Options{
			Kind: shmring.KindMPSC, Slots: 64, Mode: shmring.ModeOpenOrCreate, Label: "claimer"})
		if err == nil {
			_, err = p.TryClaim(10)
		}
		if err == nil {
			err = p.TrySend([]byte("behind it"))
		}
		fmt.Println(err)
		select {}
	}
}

// session is a terminal in tmux, in which programs are run.
type session struct {
	t      *testing.T
	dir    string // of the rings
	socket string
	text   strings.Builder
}

func (s *session) tmux(args ...string) string {
	s.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-L", s.socket}, args...)...).CombinedOutput()
	require.NoError(s.t, err, "%v: %s", args, out)
	return string(out)
}

// screen is what is to be seen.
func (s *session) screen() string {
	lines := strings.Split(s.tmux("capture-pane", "-p", "-J"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// record runs a command in the terminal and keeps what it showed: until it has ended, or, of one that goes on, for
// which there is a key, until it shows all these words.
func (s *session) record(command, key string, words ...string) {
	s.t.Helper()
	line := fmt.Sprintf("cd %s; env %s=shmring SHMRING_DIR=%s %s %s", s.dir, envProgram, s.dir, os.Args[0], command)
	s.tmux("respawn-pane", "-k", "sh -c '"+line+"; "+"printf \"[%d]\" $?; exec cat'")
	defer func() {
		if s.t.Failed() {
			s.t.Log(s.screen())
		}
	}()
	ended := func() bool { return regexp.MustCompile(`\[\d\]$`).MatchString(s.screen()) }
	eventually(s.t, command, func() bool {
		now := s.screen()
		for _, w := range words {
			if !strings.Contains(now, w) {
				return false
			}
		}
		return key != "" || ended()
	})
	now := s.screen()
	for _, w := range words {
		require.Contains(s.t, now, w)
	}
	if key != "" {
		s.tmux("send-keys", key)
		eventually(s.t, "the end of "+command, ended)
	}
	now = regexp.MustCompile(`\n?\[0\]$`).ReplaceAllString(now, "")
	now = regexp.MustCompile(`\n?\[(\d)\]$`).ReplaceAllString(now, "\n(exit code $1)")
	now = strings.ReplaceAll(now, s.dir, "/dev/shm")
	fmt.Fprintf(&s.text, "\n```text\n$ shmring %s\n%s\n```\n", command, now)
}

// states makes a ring in each state that people ask about.
func states(t *testing.T, dir string) {
	t.Helper()
	long := func(name, args string) *process {
		return start(t, dir, "producer", append([]string{"-ring", name, "-label", "app"}, strings.Fields(args)...))
	}
	send := func(name, args, text string) {
		start(t, dir, "producer", append([]string{"-ring", name}, strings.Fields(args)...),
			stdin(strings.NewReader(text))).ends(0)
	}
	claimed := func(name string) *process {
		p := start(t, dir, "claimer", []string{name})
		eventually(t, "claim", func() bool { return p.stdout.String() == "<nil>\n" })
		return p
	}
	reads := func(name string) *process {
		return start(t, dir, "consumer", []string{"-ring", name, "-follow", "-o", "/dev/null", "-label", "shipper"})
	}
	start(t, dir, "consumer", strings.Fields("-ring healthy -follow -o /dev/null -label shipper -measure-every 16"))
	long("healthy", "-generate 0 -rate 20000 -measure-every 16")
	full := reads("full")
	long("full", "-generate 0 -slots 64")
	attached := func(name string, peers int) {
		eventually(t, name, func() bool {
			s, err := shmring.Inspect(t.Context(), name, &shmring.InspectOptions{Dir: dir})
			return err == nil && s.Ring != nil && len(s.Ring.Peers) == peers && s.Ring.Consumed.Messages > 0
		})
	}
	attached("full", 2)
	require.NoError(t, full.cmd.Process.Signal(unix.SIGSTOP))
	stopped := claimed("stalled-claim")
	reads("stalled-claim")
	require.NoError(t, stopped.cmd.Process.Signal(unix.SIGSTOP))
	kill := func(p *process) {
		require.NoError(t, p.cmd.Process.Kill())
		<-p.ended
	}
	kill(claimed("dead-claim"))
	long("dead-claim", "-kind mpsc") // is there, and has nothing to say
	eaten := reads("dead-consumer")
	long("dead-consumer", "-generate 0 -slots 1024 -rate 1000")
	attached("dead-consumer", 2)
	kill(eaten)
	lost := reads("stale")
	left := long("stale", "-generate 0 -slots 64")
	attached("stale", 2)
	kill(lost)
	kill(left)
	send("r", "-slots 64 -no-end", "one\ntwo\n")
	spoil(t, dir, "damaged", func(b []byte) []byte { b[66]++; return b })
	spoil(t, dir, "newer", func(b []byte) []byte { b[12]++; return b })
	require.NoError(t, os.Rename(filepath.Join(dir, "r.shmring"), filepath.Join(dir, "other-user.shmring")))
	require.NoError(t, os.Chown(filepath.Join(dir, "other-user.shmring"), 1001, 1001))
	long("ticks", "-kind broadcast -generate 0 -rate 1000")
	send("jobs", "-slots 64", "one\ntwo\nthree\n")
}

// follow records the commands that follow the messages of a ring, and what becomes of a recording.
func (s *session) follow() {
	s.record("tap -from oldest -count 3 jobs", "", `: "one"`, `: "three"`, "3 messages, 11 B")
	s.record("tap -from oldest -count 1 -hex jobs", "", "|one|")
	s.record("tap -from oldest -count 2 -json jobs", "", `"text":"two"`, `"end":"-count"`)
	s.record("tap nobody", "", "no such file", "[1]")
	s.record("hz -every 300ms -count 3 healthy", "", " messages/s, ")
	s.record("hz -every 300ms -count 1 ticks", "", " messages/s, ")
	s.record("record -from oldest -count 3 jobs jobs.rec", "", "jobs.rec: 3 messages, 11 B")
	s.record("replay jobs.rec copy", "", "3 messages")
}

// repair records the commands that change a ring, or all that is in it.
func (s *session) repair() {
	s.record("check jobs.shmring", "", "sound: spsc ring of version ")
	s.record("check damaged.shmring", "", "checksum", "[4]")
	s.record("resize -slots 256 jobs", "", "256 slots")
	s.record("resize -slots 256 healthy", "", "[7]")
	s.record("recover stale", "", "pid ")
	s.record("purge jobs", "", "3 messages")
	s.record("force-skip stalled-claim", "", "-yes")
	s.record("force-skip -yes stalled-claim", "", "gave up the claim")
	s.record("gc", "", "0 files, ")
	s.record("remove jobs", "", "jobs")
}

// TestSessions records what the commands say of each state into docs/SESSIONS.md. Each verdict has to be
// the right one.
func TestSessions(t *testing.T) {
	dir := ringDir(t)
	states(t, dir)
	s := &session{t: t, dir: dir, socket: fmt.Sprint("shmring-", os.Getpid())}
	s.tmux("-f", "/dev/null", "new-session", "-d", "-x", "170", "-y", "34", "cat")
	t.Cleanup(func() { s.tmux("kill-server") })
	s.text.WriteString("# Sessions\n\nWhat `shmring` says of rings in each state, recorded in tmux by " +
		"`SHMRING_SESSIONS=1 go test -tags sessions -run Sessions ./cmd/internal/e2e`, as root, which fails if a " +
		"verdict is not the\nright one. [OPERATIONS.md](OPERATIONS.md) has the table of verdicts.\n")
	s.record("ls -for 1500ms", "", "healthy", "stalled-claim", "dead-consumer", "stale", "damaged", "other-version",
		"other-user", "ticks")
	for _, ring := range [][2]string{
		{"healthy", "ok        healthy:"}, {"full", "problem   stalled-consumer:"},
		{"stalled-claim", "problem   stalled-claim:"}, {"dead-claim", "warning   dead-claim:"},
		{"dead-consumer", "problem   dead-consumer:"}, {"stale", "warning   stale:"},
		{"damaged", "problem   damaged:"}, {"newer", "problem   other-version:"}, {"other-user", "note      other-owner:"},
		{"ticks", "messages sent since it was made"},
	} {
		s.record("inspect -for 1500ms "+ring[0], "", ring[1], "next: ")
	}
	s.record("events stale", "", "attached", "created")
	s.record("top -for 300ms", "q", "healthy: ", "▁", "stalled-consumer", "s  ")
	s.record("doctor", "", "a message went through")
	s.follow()
	s.repair()
	if os.Getenv("SHMRING_SESSIONS") != "" {
		require.NoError(t, os.WriteFile(filepath.Join(docs, "SESSIONS.md"), []byte(s.text.String()), 0o644))
	}
}
