package pin

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestThreadStaysWhereItIsPut(t *testing.T) {
	cpus := CPUs()
	require.NotEmpty(t, cpus)
	last := cpus[len(cpus)-1]
	done := make(chan error)
	go func() { // its thread ends with it
		if err := Thread(last); err != nil {
			done <- err
			return
		}
		var set unix.CPUSet
		err := unix.SchedGetaffinity(0, &set)
		if err == nil && (set.Count() != 1 || !set.IsSet(last)) {
			err = unix.EINVAL
		}
		done <- err
	}()
	require.NoError(t, <-done)
	require.Equal(t, cpus, CPUs(), "other threads are free")
}

func TestUnusableProcessorIsNamed(t *testing.T) {
	for _, cpu := range []int{-1, 100000} {
		require.ErrorContains(t, Thread(cpu), "this process may run on")
	}
}

func TestApart(t *testing.T) {
	a, b, ok := Apart()
	require.Equal(t, len(CPUs()) > 1, ok)
	if ok {
		require.NotEqual(t, a, b)
	}
}
