package machine

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/shmring/shmring/internal/clock"
)

// Monotonic is a clock in nanoseconds that is the same in all processes.
func Monotonic() int64 { return clock.Monotonic() }

// Moment is the begin, or the end, of a measurement. It may travel to another process.
type Moment struct {
	At      int64
	Starved time.Duration // anybody, see starved
	PID     int           // whose Delayed it is, or 0
	Delayed time.Duration // all threads of this process, see delayed
}

// Now begins a measurement.
func Now() Moment {
	m := Moment{Starved: starved()}
	m.At = Monotonic()
	return m
}

// Here is Now for a measurement within this process, which ends with There. It takes
// longer, and sees all that the process waits.
func Here() Moment {
	m := There()
	m.At = Monotonic()
	return m
}

// There is the end of a measurement that has begun with Here.
func There() Moment {
	return Moment{At: Monotonic(), PID: os.Getpid(), Delayed: delayed(), Starved: starved()}
}

// To returns how long a measurement took, and how much of that is not explained by a
// machine on which somebody waited for a processor.
func (m Moment) To(end int64) (took, owned time.Duration) {
	return m.Until(Moment{At: end, Starved: starved()})
}

// Until is To for an end that was noted before.
func (m Moment) Until(end Moment) (took, owned time.Duration) {
	took = time.Duration(end.At - m.At)
	waited := end.Starved - m.Starved
	if m.PID != 0 && m.PID == end.PID {
		waited = max(waited, end.Delayed-m.Delayed)
	}
	return took, max(0, took-waited)
}

// delayed is for how long the threads of this process could have run and had no
// processor, and the machine, if it is a virtual one, had not either.
func delayed() (sum time.Duration) {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		var ran, waited int64
		text, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/schedstat")
		_, _ = fmt.Sscan(string(text), &ran, &waited)
		sum += time.Duration(waited)
	}
	_, stolen := Busy()
	return sum + stolen
}

// Busy is for how long the processors of this machine together have run something, and, if it is
// a virtual one, were kept from it by others of its host.
func Busy() (busy, stolen time.Duration) {
	text, _ := os.ReadFile("/proc/stat") // without it there is nothing to scan
	var user, nice, system, idle, wait, irq, soft, steal int64
	_, _ = fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &soft,
		&steal)
	return time.Duration(user+nice+system+irq+soft) * tick, time.Duration(steal) * tick
}

// tick is the unit of /proc/stat.
const tick = 10 * time.Millisecond

// starved is for how long, since the machine was started, somebody could have run and
// had no processor, as an average over the processors. 0 where the kernel does not
// tell.
func starved() time.Duration {
	text, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return 0
	}
	var avg10, avg60, avg300 float64
	var total int64
	_, _ = fmt.Sscanf(string(text), "some avg10=%f avg60=%f avg300=%f total=%d", &avg10, &avg60, &avg300, &total)
	return time.Duration(total) * time.Microsecond
}

// Times are for a line in the report.
type Times []time.Duration

// At is the time within which that many percent came.
func (s Times) At(percent int) time.Duration {
	s = slices.Sorted(slices.Values(s))
	return s[(len(s)-1)*percent/100].Round(time.Microsecond)
}

func (s Times) String() string {
	if len(s) == 0 {
		return "no time"
	}
	return fmt.Sprintf("p50 %v, p99 %v, max %v", s.At(50), s.At(99), s.At(100))
}
