package cleaner

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// envVictim makes the test binary a process that has a directory, says so, and waits to be killed.
const envVictim = "SHMRING_CLEANER_VICTIM"

func TestMain(m *testing.M) {
	Main(os.RemoveAll)
	if dir := os.Getenv(envVictim); dir != "" {
		if _, err := Start(dir); err != nil {
			panic(err)
		}
		fmt.Println("ready")
		time.Sleep(time.Minute) // the longest that it is there
	}
	os.Exit(m.Run())
}

func full(t *testing.T) string {
	dir := filepath.Join(t.TempDir(), "dir")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	return dir
}

func TestDirectoryGoesWithAProcessThatIsKilled(t *testing.T) {
	dir := full(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envVictim+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.DirExists(t, dir)
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL), "with its group, as timeout(1) does")
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	}, 30*time.Second, time.Millisecond)
}

func TestDirectoryIsGoneWhenDismissed(t *testing.T) {
	dir := full(t)
	dismiss, err := Start(dir)
	require.NoError(t, err)
	require.NoError(t, dismiss())
	require.NoDirExists(t, dir)
}
