package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/relay"
	"github.com/shmring/shmring/relay/embed"
)

const within = time.Minute

// buffer is what a program says, read while it runs.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// running is a relay program.
type running struct {
	said *buffer
	code chan int
	stop func()
}

func start(t *testing.T, args ...string) *running {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &running{&buffer{}, make(chan int, 1), func() { cancel(cli.ErrInterrupted) }}
	go func() { r.code <- Run(ctx, args, strings.NewReader(""), io.Discard, r.said) }()
	t.Cleanup(func() { cancel(nil) })
	return r
}

func (r *running) wait(t *testing.T) (code int, said string) {
	t.Helper()
	select {
	case code = <-r.code:
		return code, r.said.String()
	case <-time.After(within):
		require.FailNow(t, "the program does not end", r.said)
		return 0, ""
	}
}

func run(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	return start(t, args...).wait(t)
}

func server(t *testing.T, o *embed.Options) *embed.Server {
	s, err := embed.Start(t.Context(), t.TempDir(), o)
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func TestUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "Usage: shmring relay COMMAND"},
		{"sideways", `unknown command "sideways": want out or in`},
		{"out", "no ring named"},
		{"out -ring a x", `"x": want flags only`},
		{"in -ring a", "no stream named"},
		{"out -ring a -nats nats://x -listen 127.0.0.1:1", "give one or the other"},
		{"out -ring a -until-end", "would end our own server too"},
		{"out -ring a -user me", "-user and -password-file belong together"},
		{"out -ring a -tls-cert x", "-tls-cert and -tls-key belong together"},
		{"out -ring a -in-flight -1", "above 0"},
		{"out -ring a -unix /x", "a relay wants a ring with a name"},
		{"out -ring a -retention for-ever", "limits, interest or workqueue"},
	} {
		code, said := run(t, strings.Fields(c.args)...)
		require.Equal(t, cli.Usage, code, c.args)
		require.Contains(t, said, c.want, c.args)
	}
}

// What -wait says is what a relay does, balanced too, which it does not by default; and the help says so.
func TestWaits(t *testing.T) {
	for _, what := range []string{"out", "in"} {
		_, help := helps(what)
		require.Contains(t, help, "take no thread for it (default)")
		require.NotContains(t, help, "then sleep (default)")
		for args, want := range map[string]shmring.Options{
			"":                            {},
			"-wait balanced":              {SpinFor: shmring.DefaultSpinFor},
			"-wait balanced -spin-for 1s": {SpinFor: time.Second},
			"-spin-for 1s":                {SpinFor: time.Second},
			"-wait sleep":                 {WaitPolicy: shmring.WaitSleep},
			"-wait park":                  {WaitPolicy: shmring.WaitPark},
		} {
			c := &config{what: what}
			f := c.flags()
			act := f.Command(func(_ context.Context, operands []string, usage error) int {
				require.NoError(t, usage)
				require.NoError(t, c.check(f, operands))
				return 0
			})
			all := append(strings.Fields(args), "-ring", "a", "-dir", t.TempDir())
			if what == "in" {
				all = append(all, "-stream", "s")
			}
			require.Zero(t, cli.Execute(t.Context(), act, all, io.Discard, io.Discard))
			ring := c.o.Ring
			if what == "in" {
				ring = c.i.Ring
			}
			require.Equal(t, want.WaitPolicy, ring.WaitPolicy, args)
			require.Equal(t, want.SpinFor, ring.SpinFor, args)
		}
	}
}

// One command on each side: and each says in the end what it has done.
func TestRingToRingByCommands(t *testing.T) {
	s := server(t, nil)
	dir := t.TempDir()
	o := &shmring.Options{Dir: dir}
	p, err := shmring.OpenProducer(t.Context(), "a", o)
	require.NoError(t, err)
	out := start(t, "out", "-ring", "a", "-dir", dir, "-nats", s.URL(), "-until-end", "-json", "-pack")
	in := start(t, "in", "-ring", "b", "-dir", dir, "-nats", s.URL(), "-stream", "a", "-until-end", "-durable", "d",
		"-with-origin")
	for n := range 1000 {
		require.NoError(t, p.Send(t.Context(), fmt.Append(nil, "line ", n)))
	}
	require.NoError(t, p.Close())
	c, err := shmring.OpenConsumer(t.Context(), "b", o)
	require.NoError(t, err)
	n := 0
	for m, err := range c.All(t.Context()) {
		require.NoError(t, err)
		origin, payload, err := relay.SplitOrigin(m.Bytes())
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("line ", n), string(payload))
		require.True(t, strings.HasSuffix(string(origin.Name), "/a"))
		n++
	}
	require.Equal(t, 1000, n)
	require.NoError(t, c.Close())
	code, said := out.wait(t)
	require.Zero(t, code, said)
	var got report
	require.NoError(t, json.Unmarshal([]byte(said), &got), said)
	require.EqualValues(t, 1000, got.Out.Messages)
	code, said = in.wait(t)
	require.Zero(t, code, said)
	require.Contains(t, said, "1000 messages")
}

// With its own server, until it is interrupted; and what it counts is there to be asked for.
func TestOwnServerAndMetrics(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := l.Addr().String()
	code, said := run(t, "out", "-ring", "a", "-dir", dir, "-embed", filepath.Join(dir, "store"), "-listen", at)
	require.Equal(t, cli.Failed, code)
	require.Contains(t, said, "give -listen another address, or use the server that is there (-nats)")
	require.NoError(t, l.Close())

	m, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	metrics := m.Addr().String()
	require.NoError(t, m.Close())
	p, err := shmring.OpenProducer(t.Context(), "a", &shmring.Options{Dir: dir})
	require.NoError(t, err)
	defer p.Close()
	out := start(
		t,
		"out",
		"-ring",
		"a",
		"-dir",
		dir,
		"-embed",
		filepath.Join(dir, "store"),
		"-listen",
		at,
		"-metrics",
		metrics,
	)
	require.NoError(t, p.Send(t.Context(), []byte("hello")))
	require.Eventually(t, func() bool {
		r, err := http.Get("http://" + metrics + "/metrics")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		return err == nil && strings.Contains(string(b), "shmring_relay_out_messages_total{ring=\"a\"} 1\n")
	}, within, 10*time.Millisecond)
	require.Contains(t, out.said.String(), "server at nats://"+at)
	out.stop()
	code, said = out.wait(t)
	require.Zero(t, code, said)
	require.Contains(t, said, "1 messages, 5 B stored")
}

func TestWrongServers(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := "nats://" + l.Addr().String()
	require.NoError(t, l.Close())
	code, said := run(t, "out", "-ring", "a", "-dir", dir, "-nats", nobody)
	require.Equal(t, cli.Failed, code)
	require.Contains(
		t,
		said,
		"connect to "+nobody+": nats: no servers available for connection: is the server there, and the URL right?",
	)

	s := server(t, &embed.Options{User: "u", Password: "right"})
	file := filepath.Join(dir, "password")
	require.NoError(t, os.WriteFile(file, []byte("wrong\n"), 0o600))
	code, said = run(t, "out", "-ring", "a", "-dir", dir, "-nats", s.URL(), "-user", "u", "-password-file", file)
	require.Equal(t, cli.Failed, code)
	require.Contains(t, said, "Authorization Violation: give the credentials that the server wants (-creds, -user)")

	require.NoError(t, os.WriteFile(file, []byte("right\n"), 0o600))
	code, said = run(
		t,
		"in",
		"-ring",
		"b",
		"-dir",
		dir,
		"-nats",
		s.URL(),
		"-user",
		"u",
		"-password-file",
		file,
		"-stream",
		"none",
		"-patience",
		"50ms",
	)
	require.Equal(t, cli.TimedOut, code)
	require.Contains(t, said, "stream not found")
}

func TestExitCodeOfAGap(t *testing.T) {
	require.Equal(t, streamChanged, code(fmt.Errorf("wrapped: %w", &relay.GapError{})))
	require.Equal(t, cli.Busy, code(&shmring.BusyError{}))
}

var update = flag.Bool("update", false, "write the manual pages anew")

// The manual pages say what the helps say: go test -run Manual . -update writes them.
func TestManualPages(t *testing.T) {
	pages := map[string][2]string{"shmring-relay": {summary, Help}}
	for _, what := range []string{"out", "in"} {
		short, text := helps(what)
		pages["shmring-relay-"+what] = [2]string{short, text}
		c := &config{what: what}
		for _, name := range c.flags().Names() {
			if name == "unix" || name == "allow-uid" {
				continue // of all programs; a relay refuses them
			}
			require.Regexp(t, `(?m)^  (-\S+ \S+, )?-`+name+`[ ,\n]`, text, "%s: -%s", what, name)
		}
		for _, line := range strings.Split(text, "\n") {
			require.LessOrEqual(t, len(line), 90, line)
		}
	}
	for name, page := range pages {
		text := cli.Man(strings.ReplaceAll(name, "-", " "), page[0], page[1])
		file := filepath.Join("man", name+".1")
		if *update {
			require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		}
		got, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, text, string(got), "go test -run Manual . -update writes it anew")
	}
}

// The relays of the compose file take their flags: they get as far as the version.
func TestComposeFile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "relay", "compose.yaml"))
	require.NoError(t, err)
	var compose struct {
		Services map[string]struct{ Command []string }
	}
	require.NoError(t, yaml.Unmarshal(text, &compose))
	relays := 0
	for name, s := range compose.Services {
		if s.Command[0] == "shmring-relay" {
			code, said := run(t, append(s.Command[1:], "-version")...)
			require.Zero(t, code, "%s: %s", name, said)
			relays++
		}
	}
	require.Equal(t, 2, relays)
}
