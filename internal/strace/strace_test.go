package strace

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTable(t *testing.T) {
	calls, err := Table(`% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 53.85    0.000056           3        16           mmap
 46.15    0.000048          48         1         1 access
------ ----------- ----------- --------- --------- ----------------
100.00    0.000104           6        17         1 total
`)
	require.NoError(t, err)
	require.Equal(t, map[string]int{"mmap": 16, "access": 1}, calls)
	_, err = Table("strace: exec: no such file\n")
	require.ErrorContains(t, err, "strace: exec")
}

func TestLog(t *testing.T) {
	var got []string
	for name, arguments := range Log(`100 futex(0x7f00, FUTEX_WAKE, 1) = 0
101 futex(0xc000, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>
101 <... futex resumed>) = 0
100 --- SIGURG {si_signo=SIGURG} ---
100 +++ exited with 0 +++
`) {
		got = append(got, name+" "+arguments)
	}
	want := []string{"futex 0x7f00, FUTEX_WAKE, 1) = 0", "futex 0xc000, FUTEX_WAIT_PRIVATE, 0, NULL <unfinished ...>"}
	require.Equal(t, want, got)
}
