package work

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestJobTravels(t *testing.T) {
	j := &Job{
		Transport: "shmring", Work: "stream", Role: "send", Dir: "/dev/shm/x y", Size: 32, Batch: 8, Producers: 3, Index: 2,
		For:   time.Second,
		Count: 5, Pace: time.Microsecond, Verify: true, Timeout: 3 * time.Second, CPUs: []int{1, -1}, Shm: 7, Sem: 8,
		Queues: []int{9, 10},
	}
	got, err := Parse(j.Args())
	require.NoError(t, err)
	require.Equal(t, j, got)
	_, err = Parse([]string{"size=many"})
	require.Error(t, err)
	_, err = Parse([]string{"colour=1"})
	require.ErrorContains(t, err, "no such key")
}

func TestDamageIsFound(t *testing.T) {
	for _, size := range []int{8, 9, 48, 1016} {
		msg := make([]byte, size)
		setHead(msg, 3<<56|77)
		fill(msg)
		require.NoError(t, check(msg))
		for i := 8; i < size; i++ {
			msg[i] ^= 1
			require.ErrorContains(t, check(msg), "is damaged")
			msg[i] ^= 1
		}
	}
}

func TestReceiverNoticesWhatIsWrong(t *testing.T) {
	f := func() *flow {
		a, err := newWorker(&Job{Size: 8, Producers: 1, Batch: 1}, "recv", 0, func(*Job, string, bool) (Link,
			error) {
			return nil, nil
		})
		require.NoError(t, err)
		return &flow{a: a, want: make([]uint64, 1), left: 1}
	}
	msg := make([]byte, 8)
	setHead(msg, 0)
	one := f()
	require.NoError(t, one.arrived(msg))
	require.ErrorContains(t, one.arrived(msg), "want 1") // twice
	setHead(msg, 5)
	require.ErrorContains(t, f().arrived(msg), "want 0") // one is missing
	setHead(msg, 1<<56)
	require.ErrorContains(t, f().arrived(msg), "does not exist")
	setHead(msg, lastSeq)
	require.Equal(t, errEnd, f().arrived(msg))
}

func TestClockIsMonotonic(t *testing.T) {
	a := Now()
	require.GreaterOrEqual(t, Now(), a)
}
