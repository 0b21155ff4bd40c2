package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/mutants"
	"github.com/shmring/shmring/layout"
)

// Each mode has a mutant that it must notice, and the patches apply.
func TestMutantTable(t *testing.T) {
	require.NoError(t, mutants.CheckTable("../..", "waitlab", program().Names(), 1))
}

// Only what lies between the marks counts, only once, and nothing of the runtime's.
func TestParseTrace(t *testing.T) {
	k, err := parseTrace(`100 futex(0x7f00, FUTEX_WAKE, 1) = 0
100 getpgid(1073741901) = -1 ESRCH (No such process)
100 futex(0x7f00, FUTEX_WAKE, 2147483647) = 1
101 futex(0xc000, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>
100 futex_waitv([{val=1}], 2, 0, NULL, CLOCK_MONOTONIC <unfinished ...>
102 pread64(7, "S", 1, 0) = 1
101 <... futex resumed>) = 0
100 <... futex_waitv resumed>) = 0
100 semop(3, [{0, 1, 0}], 1) = 0
100 semctl(3, 2, GETVAL, NULL) = 1
100 semctl(3, 2, SETVAL, 0) = 0
100 futex(0x7f00, FUTEX_WAIT_BITSET|FUTEX_CLOCK_REALTIME, 0) = -1 EAGAIN
100 getpgid(1073741901) = -1 ESRCH (No such process)
100 pread64(7, "S", 1, 0) = 1
100 +++ exited with 0 +++
`)
	require.NoError(t, err)
	require.Equal(t, calls{wakes: 1, waits: 2, preads: 1, semaphores: 2, looks: 1}, k)
	_, err = parseTrace("100 getpgid(1) = 0\n")
	require.ErrorContains(t, err, "0 marks")
}

func TestWaysTravelByName(t *testing.T) {
	for _, w := range allWays {
		text, err := json.Marshal(args{Way: w})
		require.NoError(t, err)
		var got args
		require.NoError(t, json.Unmarshal(text, &got))
		require.Equal(t, w, got.Way)
	}
	require.Error(t, json.Unmarshal([]byte(`{"Way": "drum"}`), new(args)))
}

// The program for the kernel refuses what it should, and the Go runtime keeps its
// futexes.
func TestFilter(t *testing.T) {
	type call struct {
		nr uint32
		op uint32
	}
	for words, refused := range map[string][]call{
		"":              nil,
		"waitv":         {{unix.SYS_FUTEX_WAITV, 0}},
		"futex":         {{unix.SYS_FUTEX, 1}, {unix.SYS_FUTEX, 9}},
		"sysv inotify":  {{sysvCalls[0], 0}, {sysvCalls[len(sysvCalls)-1], 0}, {unix.SYS_INOTIFY_INIT1, 0}},
		"futex waitv":   {{unix.SYS_FUTEX, 1}, {unix.SYS_FUTEX_WAITV, 0}},
		"inotify futex": {{unix.SYS_FUTEX, 1}, {unix.SYS_INOTIFY_INIT1, 0}},
	} {
		program, err := filter(words, unix.EPERM)
		require.NoError(t, err)
		for _, c := range refused {
			require.EqualValues(t, uint32(unix.SECCOMP_RET_ERRNO)|uint32(unix.EPERM),
				interpret(t, program, c.nr, c.op), "%s: %v", words, c)
		}
		for _, c := range []call{
			{unix.SYS_FUTEX, 128 | 1}, {unix.SYS_FUTEX, 128}, {unix.SYS_READ, 0}, {unix.SYS_PREAD64, 9},
		} {
			require.EqualValues(t, uint32(unix.SECCOMP_RET_ALLOW), interpret(t, program, c.nr, c.op), "%s: %v", words, c)
		}
	}
	_, err := filter("everything", unix.EPERM)
	require.Error(t, err)
}

// interpret is what the kernel does with the few instructions that filter uses.
func interpret(t *testing.T, program []unix.SockFilter, nr, op uint32) uint32 {
	var a uint32
	for i := 0; i < len(program); i++ {
		switch s := program[i]; s.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = map[uint32]uint32{offsetNumber: nr, offsetFutexOp: op}[s.K]
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			if a == s.K {
				i += int(s.Jt)
			} else {
				i += int(s.Jf)
			}
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			if a&s.K != 0 {
				i += int(s.Jt)
			} else {
				i += int(s.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return s.K
		default:
			t.Fatalf("instruction %d: %+v", i, s)
		}
	}
	t.Fatal("no end")
	return 0
}

func TestExpectation(t *testing.T) {
	require.Equal(t, layout.Futex, expectation("", allWays))
	require.Equal(t, layout.SysV, expectation("futex waitv", allWays))
	require.Equal(t, layout.Poll, expectation("futex waitv sysv", allWays))
	require.Zero(t, expectation("futex", []way{byFutex, byParkingLot}))
}

func TestResult(t *testing.T) {
	r := &result{Result: labs.Result{Mode: "cycles"}}
	r.add("cycles", 2)
	r.add("sleeps", 1)
	r.add("cycles", 3)
	r.Skip("sysv: not there")
	r.conclude()
	require.True(t, r.OK)
	for range 2 * labs.MaxProblems {
		r.fault("late by %d", 3)
	}
	r.conclude()
	var out strings.Builder
	r.Print(&out)
	require.Contains(t, out.String(), "FAIL: 5 cycles, 1 sleeps, 40 faults")
	require.Contains(t, out.String(), "skipped: sysv: not there")
	require.Equal(t, labs.MaxProblems, strings.Count(out.String(), "! late by 3"))
}
