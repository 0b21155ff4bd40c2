package ring_test

import (
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A LOCKed instruction, or the XCHG of an atomic store, waits for every store before
// it. One publishes an SPSC message; for MPSC one claims and one publishes. Counted in
// what the compiler makes of the functions that a message passes through when there
// is room and nobody interferes.
func TestLockedInstructions(t *testing.T) {
	if runtime.GOARCH != "amd64" || raceEnabled {
		t.Skip("counts amd64 instructions of the normal build")
	}
	out, err := exec.Command("go", "build", "-gcflags=-S", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	locked := countLocked(string(out))
	paths := []struct {
		name  string
		funcs []string
		want  int
	}{
		{"SPSC send", []string{"Producer.sendShort", "Producer.sendMany"}, 1},
		{"MPSC send", []string{"Producer.sendShortMPSC", "Producer.reserveShortMPSC", "Producer.publishShortMPSC"}, 2},
		{"receive", []string{"Consumer.Receive", "Consumer.receive", "Consumer.peek"}, 0},
	}
	for _, path := range paths {
		sum := 0
		for _, f := range path.funcs {
			n, ok := locked[f]
			require.True(t, ok, "no function %s in the assembly", f)
			sum += n
		}
		require.Equal(t, path.want, sum, "%s: LOCKed instructions", path.name)
	}
}

var (
	function    = regexp.MustCompile(`^github\.com/shmring/shmring/ring\.\(\*(\w+)\)\.(\w+) STEXT`)
	instruction = regexp.MustCompile(`\t(LOCK\s|XCHG[BWLQ]\t.*\()`) // XCHGL AX, AX is a no-op
)

// countLocked counts by function. LOCK is a prefix on a line of its own.
func countLocked(assembly string) map[string]int {
	counts := map[string]int{}
	current := ""
	for line := range strings.Lines(assembly) {
		switch {
		case strings.Contains(line, " STEXT"):
			current = ""
			if m := function.FindStringSubmatch(line); m != nil {
				current = m[1] + "." + m[2]
				counts[current] = 0
			}
		case current != "" && instruction.MatchString(line):
			counts[current]++
		}
	}
	return counts
}
