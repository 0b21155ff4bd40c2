package status_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/status"
)

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// serve mounts the handler as a program would.
func serve(t *testing.T, dir string) (server *httptest.Server, base string) {
	t.Helper()
	mux := http.NewServeMux()
	h := status.New(&shmring.InspectOptions{Dir: dir})
	mux.Handle("/debug/shmring/", http.StripPrefix("/debug/shmring", h))
	server = httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server, server.URL + "/debug/shmring"
}

func ring(t *testing.T, dir string) *shmring.Producer {
	t.Helper()
	p, err := shmring.OpenProducer(soon(t), "r", &shmring.Options{Dir: dir, Slots: 16, Doorbell: shmring.DoorbellFutex})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(soon(t), http.MethodGet, url, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(text)
}

func TestPageIsWhole(t *testing.T) {
	_, base := serve(t, t.TempDir())
	answer, text := get(t, base) // the mux sends us on
	require.Equal(t, http.StatusOK, answer.StatusCode)
	require.Contains(t, answer.Header.Get("Content-Security-Policy"), "default-src 'none'")
	for _, found := range regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(text, -1) {
		require.NotContains(t, found[1], "/", "all of it is beside the page")
		part, _ := get(t, base+"/"+found[1])
		require.Equal(t, http.StatusOK, part.StatusCode, found[1])
	}
	_, script := get(t, base+"/page.js")
	for _, way := range []string{"http:", "https:", "innerHTML", "eval(", "insertAdjacentHTML", "document.write"} {
		require.NotContains(t, script+text, way)
	}
	for path, code := range map[string]int{"/none": 404, "/events?every=1ms": 400, "/events?every=soon": 400} {
		answer, _ := get(t, base+path)
		require.Equal(t, code, answer.StatusCode, path)
	}
	answer, err := http.Post(base+"/rings", "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)
}

func TestRings(t *testing.T) {
	dir := t.TempDir()
	ring(t, dir)
	_, base := serve(t, dir)
	answer, text := get(t, base+"/rings")
	require.Equal(t, "application/json", answer.Header.Get("Content-Type"))
	var list []shmring.Snapshot
	require.NoError(t, json.Unmarshal([]byte(text), &list))
	require.Equal(t, "r", list[0].Name)
	require.Equal(t, shmring.VerdictNoConsumer, list[0].Verdicts[0].Code)
	_, base = serve(t, filepath.Join(dir, "none"))
	answer, text = get(t, base+"/rings")
	require.Equal(t, http.StatusInternalServerError, answer.StatusCode)
	require.Contains(t, text, "no such file")
}

// events opens the stream and returns the next of its events, each time it is called.
func events(t *testing.T, ctx context.Context, url string) (next func() (string, bool)) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	t.Cleanup(func() { answer.Body.Close() })
	require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	return func() (string, bool) {
		for lines.Scan() {
			if text, is := strings.CutPrefix(lines.Text(), "data: "); is {
				return text, true
			}
		}
		return "", false
	}
}

// Events go on, show what has changed, and say what is wrong.
func TestEvents(t *testing.T) {
	dir := t.TempDir()
	p := ring(t, dir)
	_, base := serve(t, dir)
	next := events(t, soon(t), base+"/events?every=250ms")
	for sent := range uint64(3) {
		for {
			text, more := next()
			require.True(t, more)
			var list []shmring.Snapshot
			require.NoError(t, json.Unmarshal([]byte(text), &list))
			if list[0].Ring.Queue.Messages == sent {
				break
			}
		}
		require.NoError(t, p.TrySend([]byte("x")))
	}
	_, base = serve(t, filepath.Join(dir, "none"))
	text, more := events(t, soon(t), base+"/events")()
	require.True(t, more)
	require.Contains(t, text, "no such file")
}

// Nothing is left of pages that were left, nor of a server that was closed while they were open.
func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	ring(t, dir)
	count := func() (descriptors, goroutines int) {
		list, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(list), runtime.NumGoroutine()
	}
	get(t, func() string { _, base := serve(t, dir); return base + "/rings" }())
	http.DefaultClient.CloseIdleConnections()
	d, g := count()
	server, base := serve(t, dir)
	ctx, leave := context.WithCancel(soon(t))
	defer leave()
	for range 8 {
		_, more := events(t, ctx, base+"/events")()
		require.True(t, more)
	}
	leave()
	staying := events(t, soon(t), base+"/events?every=250ms")
	_, more := staying()
	require.True(t, more)
	server.CloseClientConnections()
	for more {
		_, more = staying()
	}
	server.Close()
	http.DefaultClient.CloseIdleConnections()
	for wait := soon(t); ; runtime.Gosched() {
		if descriptors, goroutines := count(); descriptors <= d && goroutines <= g {
			break
		}
		require.NoError(t, wait.Err(), "something is left")
	}
}

// So many pages and no more.
func TestStreamsAreBounded(t *testing.T) {
	_, base := serve(t, t.TempDir())
	for range 64 {
		_, more := events(t, soon(t), base+"/events")()
		require.True(t, more)
	}
	answer, _ := get(t, base+"/events")
	require.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
}
