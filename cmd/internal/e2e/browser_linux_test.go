//go:build browser

package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// envScreenshots names a directory for pictures of the page.
const envScreenshots = "SHMRING_SCREENSHOTS"

// browser is a Chromium that is spoken to over two pipes.
type browser struct {
	t       *testing.T
	in      *os.File
	out     *bufio.Reader
	session string
	last    int
}

// openBrowser starts it. It has a page, with nothing in it.
func openBrowser(t *testing.T) *browser {
	t.Helper()
	program := ""
	for _, name := range []string{"chromium-headless-shell", "chromium", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	require.NotEmpty(t, program, "install chromium-headless-shell")
	theirIn, in, err := os.Pipe()
	require.NoError(t, err)
	out, theirOut, err := os.Pipe()
	require.NoError(t, err)
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu",
		"--user-data-dir="+t.TempDir(), "--window-size=1100,370", "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	require.NoError(t, theirIn.Close())
	require.NoError(t, theirOut.Close())
	b := &browser{t: t, in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		b.session = ""
		b.call("Browser.close", nil, nil)
		require.NoError(t, cmd.Wait())
		in.Close()
		out.Close()
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	return b
}

// call makes a request and waits for its answer, passing over events.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	b.last++
	request := map[string]any{"id": b.last, "method": method}
	if params != nil {
		request["params"] = params
	}
	if b.session != "" {
		request["sessionId"] = b.session
	}
	text, err := json.Marshal(request)
	require.NoError(b.t, err)
	_, err = b.in.Write(append(text, 0))
	require.NoError(b.t, err)
	for {
		text, err := b.out.ReadBytes(0)
		require.NoError(b.t, err)
		var answer struct {
			ID     int
			Result json.RawMessage
			Error  json.RawMessage
		}
		require.NoError(b.t, json.Unmarshal(text[:len(text)-1], &answer))
		if answer.ID != b.last {
			continue
		}
		require.Empty(b.t, answer.Error, method)
		if result != nil {
			require.NoError(b.t, json.Unmarshal(answer.Result, result))
		}
		return
	}
}

// value is that of an expression in the page, as a text.
func (b *browser) value(expression string) string {
	b.t.Helper()
	var answer struct{ Result struct{ Value any } }
	b.call("Runtime.evaluate", map[string]any{"expression": "String(" + expression + ")"}, &answer)
	return fmt.Sprint(answer.Result.Value)
}

// shoot takes a picture, if somebody wants it.
func (b *browser) shoot(name string) {
	b.t.Helper()
	dir := os.Getenv(envScreenshots)
	if dir == "" {
		return
	}
	var picture struct{ Data string }
	b.call("Page.captureScreenshot", map[string]any{"format": "png"}, &picture)
	text, err := base64.StdEncoding.DecodeString(picture.Data)
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
}

// The page shows a ring under load, moves, and says when its consumer is stopped.
func TestPageInABrowser(t *testing.T) {
	dir := ringDir(t)
	_, url := served(t, dir)
	c := consumer(t, dir, "-follow -verify -label sink -measure-every 64")
	producer(t, dir, "-generate 0 -size 64 -rate 200000 -label load -measure-every 64 -slots 1024")
	b := openBrowser(t)
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	looks := func() int {
		n, _ := strconv.Atoi(b.value("document.body && document.body.dataset.looks"))
		return n
	}
	points := func(chart int) string {
		return b.value(fmt.Sprintf(`document.querySelectorAll("svg .first")[%d].getAttribute("points")`, chart))
	}
	const verdicts = `document.querySelector(".verdicts").textContent`
	eventually(t, "the first look", func() bool { return looks() >= 2 })
	require.Equal(t, "r", b.value(`document.querySelector(".name").textContent`))
	text := func(class string) string { return b.value(`document.querySelector(".` + class + `").textContent`) }
	eventually(t, "rates", func() bool { return strings.HasSuffix(text("sent"), "k") })
	before, then := points(1), looks()
	eventually(t, "the chart to move", func() bool { return looks() > then+1 && points(1) != before })
	require.Contains(t, b.value(`document.querySelector(".peers").textContent`), "sink")
	require.Contains(t, b.value(verdicts), "healthy: ")
	eventually(t, "some past", func() bool { return os.Getenv(envScreenshots) == "" || looks() > 20 })
	b.shoot("page-healthy.png")

	require.NoError(t, c.cmd.Process.Signal(unix.SIGSTOP))
	eventually(t, "the verdict", func() bool { return strings.Contains(b.value(verdicts), "stalled-consumer: ") })
	require.Contains(t, b.value(verdicts), fmt.Sprintf("kill -CONT %d lets it go on", c.cmd.Process.Pid))
	eventually(t, "a full ring", func() bool { return strings.HasPrefix(text("full"), "100 %") })
	then = looks()
	eventually(t, "some more", func() bool { return os.Getenv(envScreenshots) == "" || looks() > then+5 })
	b.shoot("page-stopped.png")
	require.NoError(t, c.cmd.Process.Signal(unix.SIGCONT))
	eventually(t, "health", func() bool { return strings.Contains(b.value(verdicts), "healthy: ") })
	require.Equal(t, "0", b.value(`performance.getEntriesByType("resource")`+
		`.filter((e) => !e.name.startsWith(location.origin)).length`), "nothing comes from elsewhere")
}
