package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// While both sides are awake a message costs no system call: strace counts those of
// the two programs for few messages and for many. What the Go runtime does by the
// clock, and yielding to a peer that is not running, is not counted.
func TestNoSystemCallsPerMessage(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("no strace here; .ci/run installs it")
	}
	if out, err := exec.Command(strace, "-c", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %s", out)
	}
	counted := func(messages int) (calls int) {
		dir, logs := ringDir(t), t.TempDir()
		first, err := shmring.OpenProducer(
			t.Context(),
			"r",
			&shmring.Options{Dir: dir, Doorbell: shmring.DoorbellFutex, KeepStream: true},
		)
		require.NoError(t, err)
		require.NoError(t, first.Close())
		run := func(program string, args ...string) *exec.Cmd {
			args = append(
				[]string{
					"-f",
					"-c",
					"-o",
					filepath.Join(logs, program),
					os.Args[0],
					"-ring",
					"r",
					"-dir",
					dir,
					"-doorbell", "futex", "-wait",
					"spin",
					"-quiet",
				},
				args...)
			cmd := exec.CommandContext(t.Context(), strace, args...)
			cmd.Env = append(os.Environ(), envProgram+"="+program)
			cmd.Stderr = os.Stderr
			require.NoError(t, cmd.Start())
			return cmd
		}
		c := run("consumer", "-verify", "-timeout", deadline.String())
		p := run("producer", "-generate", strconv.Itoa(messages), "-size", "32", "-timeout", deadline.String())
		require.NoError(t, p.Wait())
		require.NoError(t, c.Wait())
		for _, program := range []string{"producer", "consumer"} {
			table, err := os.ReadFile(filepath.Join(logs, program))
			require.NoError(t, err)
			n := sumCalls(t, string(table))
			require.Positive(t, n, "%s", table)
			calls += n
		}
		return calls
	}
	few, many := counted(1000), counted(500_000)
	t.Log(few, "calls for 1000 messages,", many, "for 500000")
	require.Less(t, many-few, 500_000/100)
}

// sumCalls reads the table of strace -c: the calls are the fourth column, the name is the
// last. For a yield the Go runtime may wake a thread of its own and put it to sleep again:
// so many futex calls are not the ring's. Many come where others want the processors.
func sumCalls(t *testing.T, table string) (sum int) {
	const futexesOfAYield = 2
	calls := map[string]int{}
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 5 || f[len(f)-1] == "syscall" || strings.HasPrefix(f[0], "-") {
			continue
		}
		n, err := strconv.Atoi(f[3])
		require.NoError(t, err, "%q", line)
		calls[f[len(f)-1]] = n
	}
	calls["futex"] = max(0, calls["futex"]-futexesOfAYield*calls["sched_yield"])
	for name, n := range calls {
		if name != "total" && name != "nanosleep" && name != "sched_yield" {
			sum += n
		}
	}
	return sum
}
