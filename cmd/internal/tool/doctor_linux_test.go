package tool

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/shm"
)

func named(t *testing.T, f findings, name string) finding {
	t.Helper()
	for _, one := range f {
		if one.Name == name {
			return one
		}
	}
	require.FailNow(t, "nothing is said of "+name)
	return finding{}
}

// Everything is looked at, and nothing is left behind.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	var f findings
	f.examine(t.Context(), dir)
	for _, name := range []string{"system", "directory", "ring", "sealed", "locks", "doorbell", "futex", "sysv",
		"futex_waitv", "membarrier", "inotify", "memlock", "seccomp", "cpu", "hugepages", "RemoveIPC", "namespaces"} {
		require.NotEmpty(t, named(t, f, name).Text)
		require.NotEqual(t, shmring.SeverityProblem, named(t, f, name).Severity, name)
	}
	require.Contains(t, named(t, f, "ring").Text, "a message went through")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// It says what the library does, not what it would like to.
func TestDoctorTellsWhatIsDone(t *testing.T) {
	t.Setenv(shm.EnvLocks, "flock")
	t.Setenv(shmring.EnvDoorbell, "poll")
	var f findings
	f.examine(t.Context(), t.TempDir())
	require.Contains(t, named(t, f, "locks").Text, "asked for by SHMRING_LOCKS")
	require.Equal(t, "a new ring gets poll", named(t, f, "doorbell").Text)
	require.Regexp(t, "do not work: .*SHMRING_LOCKS", named(t, f, "sealed").Text)

	f = nil
	f.examine(t.Context(), "/nonexistent")
	require.Equal(t, shmring.SeverityProblem, named(t, f, "directory").Severity)
	require.Equal(t, shmring.SeverityProblem, named(t, f, "ring").Severity)
}

func TestDoctorReadsConfigurations(t *testing.T) {
	require.True(t, removesIPC(nil), "the default")
	require.True(t, removesIPC([]string{"#RemoveIPC=no\n"}))
	require.False(t, removesIPC([]string{"[Login]\nRemoveIPC = no\n"}))
	require.True(t, removesIPC([]string{"RemoveIPC=no\n", "RemoveIPC=yes"}))
}
