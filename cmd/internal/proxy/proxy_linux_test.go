package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/shmnet"
)

const within = 20 * time.Second

// start runs a proxy until the test ends, and returns the address that it says.
func start(t *testing.T, args ...string) string {
	t.Setenv(shmring.EnvLocks, "") // sealed rings have locks of one kind
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		code := cli.Execute(ctx, Command(args, in, io.Discard), args, in, io.Discard)
		_ = in.Close()
		ended <- code
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	t.Cleanup(func() {
		cancel()
		require.Equal(t, cli.OK, <-ended)
	})
	return strings.TrimSpace(line)
}

// chain is a client's way to a server by TCP: through shared memory in the middle.
func chain(t *testing.T, server net.Listener) (address string) {
	shm := "shm:" + filepath.Join(t.TempDir(), "s")
	require.Equal(t, shm, start(t, "-listen", shm, "-to", server.Addr().Network()+":"+server.Addr().String()))
	return strings.TrimPrefix(start(t, "-listen", "tcp:127.0.0.1:0", "-to", shm), "tcp:")
}

func TestHTTPThroughTwoProxies(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "u"))
	require.NoError(t, err)
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all, _ := io.ReadAll(r.Body)
		_, _ = w.Write(all)
	})}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	address := chain(t, l)
	client := &http.Client{Timeout: within}
	defer client.CloseIdleConnections()
	for _, n := range []int{0, 1, 100, 1 << 20} {
		answer, err := client.Post("http://"+address+"/", "", strings.NewReader(strings.Repeat("x", n)))
		require.NoError(t, err)
		got, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Len(t, got, n)
	}
}

// A half that is closed goes through; so does a connection that breaks off.
func TestEndsGoThrough(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	address := chain(t, l)
	connect := func() (client, server *net.TCPConn) {
		c, err := net.Dial("tcp", address)
		require.NoError(t, err)
		s, err := l.Accept()
		require.NoError(t, err)
		for _, conn := range []net.Conn{c, s} {
			t.Cleanup(func() { _ = conn.Close() })
			require.NoError(t, conn.SetDeadline(time.Now().Add(within)))
		}
		return c.(*net.TCPConn), s.(*net.TCPConn)
	}
	client, server := connect()
	_, err = client.Write([]byte("question"))
	require.NoError(t, err)
	require.NoError(t, client.CloseWrite())
	asked, err := io.ReadAll(server)
	require.NoError(t, err)
	require.Equal(t, "question", string(asked))
	_, err = server.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, server.Close())
	answer, err := io.ReadAll(client)
	require.NoError(t, err)
	require.Equal(t, "answer", string(answer))

	client, server = connect()
	_, err = server.Write([]byte("half an an"))
	require.NoError(t, err)
	_, err = io.ReadFull(client, make([]byte, 10))
	require.NoError(t, err)
	require.NoError(t, server.SetLinger(0))
	require.NoError(t, server.Close())
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

func execute(t *testing.T, args []string) int {
	return cli.Execute(t.Context(), Command(args, io.Discard, io.Discard), args, io.Discard, io.Discard)
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{}, {"-listen", "x", "-to", "tcp:x:1"}, {"-listen", "shm:x"}, {"-listen", "shm:x", "-to", "tcp:"},
		{"-listen", "shm:x", "-to", "tcp:x:1", "more"}, {"-listen", "shm:x", "-to", "tcp:x:1", "-max", "0"},
		{"-listen", "shm:x", "-to", "tcp:x:1", "-allow-uid", "me"},
	} {
		require.Equal(t, cli.Usage, execute(t, args), args)
	}
	for _, args := range [][]string{
		{"-listen", "shm:/nowhere/at/all", "-to", "tcp:x:1"}, {"-listen", "shm:x", "-to", "tcp:x:1", "-buffer", "1"},
	} {
		require.Equal(t, cli.Failed, execute(t, args), args)
	}
}

// Whoever cannot be forwarded is told by the end of the connection.
func TestNobodyBehindIt(t *testing.T) {
	shm := "shm:" + filepath.Join(t.TempDir(), "s")
	start(t, "-listen", shm, "-to", "unix:"+filepath.Join(t.TempDir(), "nobody"))
	c, err := shmnet.Dial(t.Context(), strings.TrimPrefix(shm, "shm:"), nil)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(within)))
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// For programs it says in JSON where it listens, and what is wrong.
func TestProxyForMachines(t *testing.T) {
	shm := "shm:" + filepath.Join(t.TempDir(), "s")
	require.JSONEq(t, `{"listen":"`+shm+`","to":"tcp:localhost:1"}`,
		start(t, "-json", "-listen", shm, "-to", "tcp:localhost:1"))
	var out strings.Builder
	args := []string{"-json", "-listen", "unix:/nonexistent/s", "-to", shm}
	require.Equal(t, cli.Failed, cli.Execute(t.Context(), Command(args, &out, io.Discard), args, &out, io.Discard))
	var got cli.Failure
	require.NoError(t, json.Unmarshal([]byte(out.String()), &got))
	require.Contains(t, got.Error, "no such file or directory")
	require.Equal(t, cli.Failed, got.ExitCode)
}
