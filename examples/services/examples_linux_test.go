package services_test

import (
	"bufio"
	"context"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
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
