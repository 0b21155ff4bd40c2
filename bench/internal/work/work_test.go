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

// What is read in place is all of it: whichever line of a message changes, the sum does.
func TestTouchReadsEveryLine(t *testing.T) {
	for _, size := range []int{8, 48, 64, 65, 248, 1016, 4096} {
		for _, offset := range []int{0, 8, 16, 56} { // of the message on its first line
			area := make([]byte, 128+offset+size)
			start := offset // lines are counted from the area's begin
			msg := area[start : start+size]
			before := touch(msg)
			for line := start / 64; line <= (start+size-1)/64; line++ {
				for i := max(start, line*64); i < min(start+size, (line+1)*64); i++ {
					area[i]++
				}
				require.NotEqual(t, before, touch(msg), "%d bytes at %d, line %d", size, offset, line)
				for i := max(start, line*64); i < min(start+size, (line+1)*64); i++ {
					area[i]--
				}
			}
		}
	}
}

// replay is a link of which each message comes back at once.
type replay struct{ last []byte }

func (l *replay) Send(msg []byte) error        { l.last = append(l.last[:0], msg...); return nil }
func (l *replay) Recv(buf []byte) (int, error) { return copy(buf, l.last), nil }
func (l *replay) Close() error                 { return nil }

// Trips are timed one by one and in blocks, as many of each.
func TestPingTimesTripsAndBlocks(t *testing.T) {
	l := &replay{}
	a, err := newWorker(&Job{Work: "rtt", Size: 32, Producers: 1, Batch: 1, Count: 10 * block, Verify: true}, "ping", 0,
		func(*Job, string, bool) (Link, error) { return l, nil })
	require.NoError(t, err)
	require.NoError(t, a.run())
	count := func(pairs [][2]int64) (n int64) {
		for _, p := range pairs {
			n += p[1]
		}
		return n
	}
	require.EqualValues(t, 5*block, count(a.r.Times))
	require.EqualValues(t, 5, count(a.r.BlockTimes))
	require.Equal(t, block, a.r.Block)
	require.EqualValues(t, 1+10*block, a.r.Messages)
	require.EqualValues(t, lastSeq, head(l.last)&lastSeq)
}
