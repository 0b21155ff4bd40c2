package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

// spoil writes a copy of ring r under another name, with a change.
func spoil(t *testing.T, dir, name string, change func([]byte) []byte) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "r.shmring"))
	require.NoError(t, err)
	path := filepath.Join(dir, name+".shmring")
	require.NoError(t, os.WriteFile(path, change(b), 0o600))
	return path
}

// ls has a line for each ring, and for what is none.
func TestList(t *testing.T) {
	dir := ringDir(t)
	p := command(t, dir, "ls")
	p.ends(0)
	require.Equal(t, 1, strings.Count(p.stdout.String(), "\n"), "the heading")
	p = command(t, dir, "ls -json")
	p.ends(0)
	require.Equal(t, "[]\n", p.stdout.String())

	producer(t, dir, "-slots 64 -no-end", stdin(strings.NewReader("1\n2\n3\n"))).ends(0)
	spoil(t, dir, "text", func([]byte) []byte { return []byte("hello") })
	spoil(t, dir, "other", func(b []byte) []byte { b[12]++; return b })
	p = command(t, dir, "ls -for 1ms")
	p.ends(0)
	for _, want := range []string{"other ", "text ", "other-version: ", "not-a-ring: ",
		"r      spsc  0%    3         -         0          unattended: nobody attached; 3"} {
		require.Contains(t, p.stdout.String(), want)
	}
	p = command(t, base, "ls -json "+dir)
	p.ends(0)
	var list []shmring.Snapshot
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &list))
	require.Len(t, list, 3)
	require.Equal(t, shmring.VerdictUnattended, list[1].Verdicts[0].Code)
	require.EqualValues(t, 3, list[1].Ring.Queue.Messages)
	p = command(t, dir, "ls "+filepath.Join(dir, "none"))
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(), "no such file")
}

// inspect tells what is the matter with a ring that is in use, and is in nobody's way.
func TestInspect(t *testing.T) {
	dir := ringDir(t)
	p := command(t, dir, "inspect -for 0 r")
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(), "no such file")
	require.Empty(t, p.stdout.String())

	dead := producer(t, dir, "-ring r -kind mpsc -slots 16")
	fmt.Fprintln(dead.stdin, "one")
	spy := watch(t, dir)
	spy.producers(1)
	eventually(t, "message", func() bool { return spy.view.Hot.Tail.Load() != 0 })
	require.NoError(t, spy.seg.Close())
	p = command(t, dir, "inspect -for 0 r")
	p.ends(0)
	for _, want := range []string{"warning   no-consumer: no consumer; 1 producer attached; 1 message, ring 6 % full",
		"next: start a consumer", fmt.Sprintf("1.1, pid %d alive (process there)", dead.cmd.Process.Pid),
		"1 messages, 3 bytes", "counted   1 messages sent since it was made; 0 messages, 0 bytes consumed"} {
		require.Contains(t, p.stdout.String(), want)
	}
	require.NoError(t, dead.cmd.Process.Kill())
	<-dead.ended
	p = command(t, dir, "inspect -json -for 1ms r")
	p.ends(0)
	var s shmring.Snapshot
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &s))
	require.Equal(t, shmring.VerdictStale, s.Verdicts[0].Code)
	require.Positive(t, s.Watched)
	require.EqualValues(t, 1, s.Ring.Queue.Sent)
	require.True(t, s.Ring.Queue.SentKnown)

	spoil(t, dir, "bad", func(b []byte) []byte { b[70] ^= 1; return b })
	p = command(t, dir, "inspect -for 0 bad")
	p.ends(cli.Corrupt)
	require.Contains(t, p.stdout.String(), "problem   damaged: ")
	require.Contains(t, p.stderr.String(), "checksum")
	p = command(t, dir, "inspect -json -for 0 bad")
	p.ends(cli.Corrupt)
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &s), "one object: %s", p.stdout)
	spoil(t, dir, "new", func(b []byte) []byte { b[12]++; return b })
	p = command(t, dir, "inspect -for 0 new")
	p.ends(cli.Failed)
	require.Contains(t, p.stdout.String(), "a ring of version 5.0")
}

// Of a broadcast ring nothing is consumed; how much was sent is there, also of what was overwritten.
func TestInspectBroadcast(t *testing.T) {
	dir := ringDir(t)
	p := sender(t, &shmring.Options{Dir: dir, Kind: shmring.KindBroadcast, Slots: 64, SlotSize: 64, MaxMessage: 100})
	for range 10_000 {
		require.NoError(t, p.TrySend(make([]byte, 50)))
	}
	look := command(t, dir, "inspect -for 0 r")
	look.ends(0)
	require.Contains(t, look.stdout.String(),
		"\ncounted   10000 messages sent since it was made; 0 deaths found; 2 events\n")
	look = command(t, dir, "inspect -json -for 0 r")
	look.ends(0)
	require.Contains(t, look.stdout.String(), `"sent":10000,"sent_known":true`)
}

// -watch looks until a signal ends it, and says for how long something has been so.
func TestInspectWatch(t *testing.T) {
	dir := ringDir(t)
	o := &shmring.Options{Dir: dir, Kind: shmring.KindMPSC, Slots: 16}
	holder, err := shmring.OpenProducer(t.Context(), "r", o)
	require.NoError(t, err)
	defer holder.Close()
	_, err = holder.TryClaim(10)
	require.NoError(t, err)
	p := command(t, dir, "inspect -watch -for 1ms -json r")
	eventually(t, "some looks", func() bool { return strings.Count(p.stdout.String(), "\n") > 5 })
	require.NoError(t, p.cmd.Process.Signal(unix.SIGINT))
	p.ends(0)
	lines := strings.Split(strings.TrimSpace(p.stdout.String()), "\n")
	var last int64
	for i, l := range lines {
		var s shmring.Snapshot
		require.NoError(t, json.Unmarshal([]byte(l), &s))
		require.Len(t, s.Ring.Claims, 1)
		require.Equal(t, i > 0, int64(s.Ring.Claims[0].OpenFor) > last)
		last = int64(s.Ring.Claims[0].OpenFor)
	}
}

func TestCheck(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 64 -no-end", stdin(strings.NewReader("1\n2\n3\n"))).ends(0)
	whole := spoil(t, dir, "copy", func(b []byte) []byte { return b })
	p := command(t, dir, "check "+whole)
	p.ends(0)
	require.Equal(t, whole+": sound: spsc ring of version 4.0, 3 messages, 3 bytes, 0 claims open\n", p.stdout.String())
	for name, c := range map[string]struct {
		change func([]byte) []byte
		code   int
		want   string
	}{
		"sum":     {func(b []byte) []byte { b[70] ^= 1; return b }, cli.Corrupt, "checksum"},
		"cut":     {func(b []byte) []byte { return b[:len(b)-1] }, cli.Corrupt, "bytes are left of"},
		"text":    {func(b []byte) []byte { return []byte("hello") }, cli.Corrupt, "not a shmring segment"},
		"version": {func(b []byte) []byte { b[12]++; return b }, cli.Failed, "version"},
		"tail":    {func(b []byte) []byte { b[768] = 9; return b }, cli.Corrupt, "participant state"},
	} {
		p := command(t, dir, "check -json "+spoil(t, dir, name, c.change))
		p.ends(c.code)
		require.Contains(t, p.stderr.String(), c.want)
		require.Contains(t, p.stdout.String(), fmt.Sprintf(`"exit_code":%d}`, c.code))
	}
}

// doctor tells by its exit code whether rings work here.
func TestDoctorsExitCode(t *testing.T) {
	p := command(t, ringDir(t), "doctor")
	p.ends(0)
	require.Contains(t, p.stdout.String(), "a message went through")
	p = command(t, base, "doctor -json -dir /nonexistent")
	p.ends(cli.Failed)
	require.Contains(t, p.stderr.String(), "2 problems: rings do not work here")
	var list []map[string]string
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &list))
	require.Greater(t, len(list), 8)
}

// gc shows what it would remove, and removes it when asked.
func TestGarbage(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 64 -no-end", stdin(strings.NewReader(""))).ends(0)
	consumer(t, dir, "-timeout 10ms").ends(cli.TimedOut)
	left := filepath.Join(dir, ".r.0123456789abcdef.tmp")
	require.NoError(t, os.WriteFile(left, []byte("12345"), 0o600))
	p := command(t, dir, "gc")
	p.ends(0)
	require.Equal(t, left+" (unfinished, 5 bytes): would be removed\n1 files, 5 bytes; -remove removes that\n",
		p.stdout.String())
	p = command(t, base, "gc -json -unused "+dir)
	p.ends(0)
	var list []shmring.Collected
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &list))
	require.Len(t, list, 2)
	require.False(t, list[0].Removed || list[1].Removed)
	p = command(t, dir, "gc -unused -remove")
	p.ends(0)
	require.Equal(t, 2, strings.Count(p.stdout.String(), "): removed\n"), p.stdout)
	found, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, found)
}

// purge throws away what was there when it began, though a producer goes on.
func TestPurge(t *testing.T) {
	dir := ringDir(t)
	p := command(t, dir, "purge r")
	p.ends(cli.Failed)
	sender := producer(t, dir, "-kind mpsc -slots 64")
	fmt.Fprint(sender.stdin, "one\ntwo\nthree\n")
	spy := watch(t, dir)
	eventually(t, "messages", func() bool { return spy.view.Hot.Tail.Load().Pos(0) == 3 })
	require.NoError(t, spy.seg.Close())
	p = command(t, dir, "purge -json r")
	p.ends(0)
	require.Equal(t, `{"name":"r","messages":3,"bytes":11,"streams":0}`+"\n", p.stdout.String())
	fmt.Fprint(sender.stdin, "four\n")
	require.NoError(t, sender.stdin.Close())
	sender.ends(0)
	c := consumer(t, dir, "")
	c.ends(0)
	require.Equal(t, "four\n", c.stdout.String())

	holder := consumer(t, dir, "-follow")
	watch(t, dir).hasConsumer()
	command(t, dir, "purge r").ends(cli.Busy)
	require.NoError(t, holder.cmd.Process.Kill())
}
