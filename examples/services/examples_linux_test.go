package services_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// The examples run, in processes of their own.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for name, k := range map[string]struct {
		ask  []string
		want string
	}{
		"http": {[]string{"get", "SOCKET", "/hello"}, "/hello from process "},
		"grpc": {[]string{"check", "SOCKET"}, "SERVING\n"},
	} {
		t.Run(name, func(t *testing.T) {
			program, socket := filepath.Join(dir, name), filepath.Join(dir, name+".sock")
			out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./"+name).CombinedOutput()
			require.NoError(t, err, "%s", out)
			server := exec.CommandContext(ctx, program, "serve", socket)
			said, err := server.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, server.Start())
			line, err := bufio.NewReader(said).ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, "serving\n", line)
			k.ask[1] = socket
			out, err = exec.CommandContext(ctx, program, k.ask...).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), k.want)
			require.NoError(t, server.Process.Signal(syscall.SIGTERM))
			require.NoError(t, server.Wait())
		})
	}
}

// Messages of other libraries go through a ring in place, from one process to another.
func TestMessages(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for _, name := range []string{"protobuf", "flatbuffers"} {
		t.Run(name, func(t *testing.T) {
			program := filepath.Join(dir, name)
			out, err := exec.CommandContext(ctx, "go", "build", "-o", program, "./"+name).CombinedOutput()
			require.NoError(t, err, "%s", out)
			run := func(args ...string) string {
				c := exec.CommandContext(ctx, program, args...)
				c.Env = append(os.Environ(), shmring.EnvDir+"="+dir)
				out, err := c.CombinedOutput()
				require.NoError(t, err, "%s", out)
				return string(out)
			}
			t.Cleanup(func() { // semaphores, with SHMRING_DOORBELL=sysv, outlive the directory
				_ = shmring.Remove(context.Background(), name+"-trades", &shmring.AdminOptions{Dir: dir})
			})
			require.Empty(t, run("send", "3"))
			require.Equal(t, "0 1.5 GO 0\n1 1.5 GO 1\n2 1.5 GO 2\n", run("receive"))
		})
	}
}
