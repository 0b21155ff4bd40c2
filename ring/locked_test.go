package ring_test

import (
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A LOCKed instruction, or the XCHG of an atomic store, waits for every store before
// it. For SPSC one publishes a message where nobody fences; for MPSC one claims, and one more commits where
// nobody fences. Counted in what the compiler makes of the functions that a message passes through when
// there is room and nobody interferes.
func TestLockedInstructions(t *testing.T) {
	if runtime.GOARCH != "amd64" || raceEnabled {
		t.Skip("counts amd64 instructions of the normal build")
	}
	locked := countLocked(assembly(t))
	paths := []struct {
		name  string
		funcs []string
		want  int
	}{
		{"SPSC send", []string{"Producer.sendShort", "Producer.sendMany"}, 1},
		{"MPSC send", []string{"Producer.sendMPSC", "Producer.reserveShortMPSC", "Producer.fillShortMPSC"}, 1},
		{"MPSC commit where nobody fences", []string{"Producer.commitByCAS"}, 1},
		{"waypoint to be kept", []string{"storeKept"}, 4}, // also the one that says that it is none meanwhile
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

// What hands something over by a plain store (storePlain) does so behind the stores of what it hands over:
// the compiler has neither moved nor left out any.
func TestPlainStoresComeLast(t *testing.T) {
	if runtime.GOARCH != "amd64" || raceEnabled {
		t.Skip("looks at amd64 instructions of the normal build")
	}
	text := assembly(t)
	for _, name := range []string{"Producer.Send", "Producer.sendMany", "Claim.Commit"} {
		require.Len(t, plainStores(t, text, name), 1, name)
	}
	for _, name := range []string{"segment.leaveWaypoint", "Consumer.flushReadPos", "Producer.mark"} {
		at := plainStores(t, text, name)
		require.Len(t, at, 3, "%s: position, messages, turn", name)
		require.Equal(t, at[0]+8, at[1], name)
		require.NotContains(t, at[:2], at[2], name)
	}
}

// Who commits by a plain store says so first, and then looks at its state: the compiler has moved nothing.
func TestCommitMarksThenLooks(t *testing.T) {
	if runtime.GOARCH != "amd64" || raceEnabled {
		t.Skip("looks at amd64 instructions of the normal build")
	}
	text := assembly(t)
	for _, name := range []string{"Producer.fillShortMPSC", "Producer.commitMPSC"} {
		require.Equal(t, []int{8, 0}, plainStores(t, text, name), "%s: Meta, then the control word", name)
		symbol := `(?ms)^\S+` + strings.Replace(name, ".", `\)\.`, 1) + ` STEXT.*?(?:STEXT|\z)`
		body := regexp.MustCompile(symbol).FindString(text)
		between := regexp.MustCompile(`(?s)store_amd64\.go:\d+\)\tMOVQ\t\w+, 8\(.*?store_amd64\.go`).FindString(body)
		require.Regexp(t, `sync/atomic/type\.go:\d+\)\tMOVL\t\(\w+\), \w+\n`, between, "%s: the look at the state", name)
	}
}

// plainStores are the offsets to which a function stores by storePlain, in order. No bytes of a message are
// written behind the first.
func plainStores(t *testing.T, assembly, name string) (offsets []int) {
	current := ""
	for line := range strings.Lines(assembly) {
		if strings.Contains(line, " STEXT") {
			current = functionAt(line)
		}
		m := stored.FindStringSubmatch(line)
		switch {
		case current != name || m == nil:
		case m[1] == "store_amd64":
			n, _ := strconv.Atoi(m[2]) // nothing is 0
			offsets = append(offsets, n)
		case m[1] == "area_unsafe" || m[1] == "copy":
			require.Empty(t, offsets, "%s: bytes behind the word: %s", name, line)
		}
	}
	return offsets
}

// assembly is what the compiler makes of this package.
func assembly(t *testing.T) string {
	out, err := exec.Command("go", "build", "-gcflags=-S", ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

var (
	function    = regexp.MustCompile(`^github\.com/shmring/shmring/ring\.(?:\(\*(\w+)\)\.)?(\w+) STEXT`)
	stored      = regexp.MustCompile(`/ring/(\w+)\.go:\d+\)\tMOV\w+\t[A-Z]\w*, (\d*)\((?:[A-Z]\w*)\)`)
	instruction = regexp.MustCompile(`\t(LOCK\s|XCHG[BWLQ]\t.*\()`) // XCHGL AX, AX is a no-op
)

// functionAt is the function of this package that begins on a line, or "".
func functionAt(line string) string {
	m := function.FindStringSubmatch(line)
	if m == nil {
		return ""
	}
	return strings.TrimPrefix(m[1]+"."+m[2], ".")
}

// countLocked counts by function. LOCK is a prefix on a line of its own.
func countLocked(assembly string) map[string]int {
	counts := map[string]int{}
	current := ""
	for line := range strings.Lines(assembly) {
		switch {
		case strings.Contains(line, " STEXT"):
			current = functionAt(line)
			counts[current] = 0
		case current != "" && instruction.MatchString(line):
			counts[current]++
		}
	}
	return counts
}
