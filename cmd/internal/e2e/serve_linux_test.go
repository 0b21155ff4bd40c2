package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/cmd/internal/cli"
)

func fetch(t *testing.T, url, host string) (code int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	r.Host = host
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(b)
}

// served starts shmring serve and returns where it listens.
func served(t *testing.T, dir string) (p *process, url string) {
	t.Helper()
	p = command(t, dir, "serve -json -listen 127.0.0.1:0")
	eventually(t, "where it listens", func() bool { return strings.HasSuffix(p.stdout.String(), "\n") })
	var at struct{ URL, Dir string }
	require.NoError(t, json.Unmarshal([]byte(p.stdout.String()), &at))
	require.Equal(t, dir, at.Dir)
	return p, at.URL
}

// serve shows rings, and ends at a signal also while a page is open.
func TestServe(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-slots 64 -no-end", stdin(strings.NewReader("1\n2\n3\n"))).ends(0)
	p, url := served(t, dir)
	code, text := fetch(t, url, "")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, text, "page.js")
	_, text = fetch(t, url+"metrics", "")
	require.Contains(t, text, `shmring_consumer_lag_messages{ring="r"} 3`)
	require.Contains(t, text, `shmring_verdict{code="unattended",ring="r",severity="warning"} 1`)
	_, text = fetch(t, url+"rings", "localhost:1")
	require.Contains(t, text, `"code":"unattended"`)
	code, _ = fetch(t, url+"rings", "rings.example.com")
	require.Equal(t, http.StatusForbidden, code)

	answer, err := http.Get(url + "events")
	require.NoError(t, err)
	defer answer.Body.Close()
	line, err := bufio.NewReader(answer.Body).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, `data: [{"name":"r"`)
	require.NoError(t, p.cmd.Process.Signal(unix.SIGTERM))
	p.ends(0)
	_, err = io.Copy(io.Discard, answer.Body)
	require.NoError(t, err, "the stream has ended, and was not cut off")
	http.DefaultClient.CloseIdleConnections()

	p = command(t, dir, "serve -listen nowhere")
	p.ends(cli.Usage)
	require.Contains(t, p.stderr.String(), "want an address and a port")
	command(t, dir, "serve -listen 127.0.0.1:0 /nonexistent").ends(cli.Failed)
}
