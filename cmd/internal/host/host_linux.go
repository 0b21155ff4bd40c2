package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Field is the word behind another in a file, and what follows on the line.
func Field(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if rest, is := strings.CutPrefix(line, name); is {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// Quota is how many processors the control group of this process allows, at most.
func Quota() (cpus float64, limited bool) {
	path := "/"
	if rest := Field("/proc/self/cgroup", "0::"); rest != "" {
		path = rest
	}
	for ; ; path = filepath.Dir(path) {
		text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", path, "cpu.max"))
		if n, is := quotaOf(string(text)); err == nil && is && (!limited || n < cpus) {
			cpus, limited = n, true
		}
		if path == "/" || path == "." {
			return cpus, limited
		}
	}
}

// quotaOf reads what cpu.max says: "QUOTA PERIOD", or "max PERIOD".
func quotaOf(text string) (cpus float64, limited bool) {
	var quota, period float64
	if _, err := fmt.Sscan(text, &quota, &period); err != nil || period <= 0 {
		return 0, false
	}
	return quota / period, true
}

// Kernel is the release of the system.
func Kernel() string {
	var u unix.Utsname
	_ = unix.Uname(&u) // cannot fail for this address
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}

// Processor is what the maker calls it; empty: not known.
func Processor() string {
	_, model, _ := strings.Cut(Field("/proc/cpuinfo", "model name"), ":")
	return strings.TrimSpace(model)
}

// Virtual reports whether this is a virtual machine, as far as the processor says so.
func Virtual() bool {
	return strings.Contains(" "+Field("/proc/cpuinfo", "flags")+" ", " hypervisor ")
}

// Load is how many threads ran or wanted to, on average over the last minute; −1: not known.
func Load() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	var load float64
	if _, err := fmt.Sscan(string(text), &load); err != nil {
		return -1
	}
	return load
}

// tick is the unit of /proc/stat.
const tick = 10 * time.Millisecond

// Spent is the time that processors have spent: all of this machine, and this process with
// the children that it has waited for. Where the system does not tell it is 0.
func Spent() (t Times) {
	text, _ := os.ReadFile("/proc/stat") // without it there is nothing to scan
	var user, nice, system, idle, wait, irq, soft, steal int64
	_, _ = fmt.Sscanf(string(text), "cpu %d %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &soft,
		&steal)
	t.busy, t.stolen = time.Duration(user+nice+system+irq+soft)*tick, time.Duration(steal)*tick
	t.all = t.busy + t.stolen + time.Duration(idle+wait)*tick
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		_ = unix.Getrusage(who, &u) // cannot fail for these
		t.own += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return t
}
