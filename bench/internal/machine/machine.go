// Package machine describes what a benchmark ran on and picks its processors.
package machine

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/bench/internal/rival"
)

// Machine is what there is to know about one.
type Machine struct {
	Model          string   `json:"cpu"`
	Arch           string   `json:"arch"`
	Processors     int      `json:"processors"` // that we may use
	Cores          int      `json:"cores"`
	Caches         []string `json:"caches"`
	Governor       string   `json:"governor"`
	Virtualisation string   `json:"virtualisation"`
	MemoryMiB      int      `json:"memory_mib"`
	Kernel         string   `json:"kernel"`
	Go             string   `json:"go"`
	Compiler       string   `json:"compiler"`
	Load           string   `json:"load_at_begin"`
	Places         []Place  `json:"places"`
}

// Place is where the workers of a job run: the receiver, then the senders. No
// processors: wherever the system likes.
type Place struct {
	Name  string `json:"name"`
	About string `json:"about"`
	CPUs  []int  `json:"cpus,omitempty"`
	Born  bool   `json:"born,omitempty"` // processes are there from their birth, and see no other processor
}

// Names of places.
const (
	Pinned  = "pinned"  // two cores, as near as there are
	Taskset = "taskset" // the same, by taskset: each process sees one processor from its birth
	SMT     = "smt"     // two threads of one core
	Apart   = "apart"   // two cores without a cache in common
	Free    = "free"
)

// Describe looks at this machine.
func Describe() Machine {
	cpus := usable()
	m := Machine{
		Model: cpuModel(), Arch: runtime.GOARCH, Processors: len(cpus), Cores: cores(cpus), Caches: caches(cpus[0]),
		Governor: governor(cpus[0]), Virtualisation: virtualisation(), Kernel: kernel(),
		Go: runtime.Version(), Compiler: rival.Version(), Load: strings.Join(head(strings.Fields(read("/proc/loadavg")), 3),
			" "),
		Places: places(cpus),
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryMiB = int(info.Totalram * uint64(info.Unit) >> 20)
	}
	if m.Compiler == "" {
		m.Compiler = "none"
	}
	return m
}

// Place returns the place of a name, or nil.
func (m *Machine) Place(name string) *Place {
	for i := range m.Places {
		if m.Places[i].Name == name {
			return &m.Places[i]
		}
	}
	return nil
}

// Pair is the two processors whose distance matters: those of the first place that has two;
// nil where there is none.
func (m *Machine) Pair() []int {
	for _, p := range m.Places {
		if len(p.CPUs) > 1 {
			return p.CPUs[:2]
		}
	}
	return nil
}

func places(cpus []int) []Place {
	var list []Place
	a := cpus[0]
	others := slices.DeleteFunc(slices.Clone(cpus), func(c int) bool { return sameCore(c, a) })
	near := slices.DeleteFunc(slices.Clone(others), func(c int) bool { return !sameL3(c, a) })
	far := slices.DeleteFunc(slices.Clone(others), func(c int) bool { return sameL3(c, a) })
	add := func(name string, cpus []int, about string, args ...any) {
		list = append(list, Place{Name: name, About: fmt.Sprintf(about, args...), CPUs: cpus})
	}
	switch {
	case len(near) > 0:
		rest := slices.DeleteFunc(append(near[1:len(near):len(near)], far...), func(c int) bool {
			return sameCore(c, near[0])
		})
		add(Pinned, append([]int{near[0], a}, rest...),
			"receiver on processor %d, senders on %v and further cores, one L3", near[0], a)
	case len(far) > 0:
		add(Pinned, append([]int{far[0], a}, far[1:]...), "receiver on processor %d, senders on %v and further cores",
			far[0], a)
	}
	for _, c := range cpus {
		if c != a && sameCore(c, a) {
			add(SMT, []int{c, a}, "processors %d and %d, two threads of one core", c, a)
			break
		}
	}
	if len(near) > 0 && len(far) > 0 {
		add(Apart, []int{far[0], a}, "processors %d and %d, which share no cache", far[0], a)
	}
	if len(list) > 0 && list[0].Name == Pinned {
		add(Taskset, list[0].CPUs,
			"the processors of pinned, but each process is born on its own as by taskset, and sees no other")
		list[len(list)-1].Born = true
	}
	add(Free, nil, "wherever the system puts them")
	return list
}

func usable() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return []int{0}
	}
	var cpus []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus
}

func sysCPU(cpu int, rest string) string {
	return read(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/%s", cpu, rest))
}

func sameCore(a, b int) bool {
	siblings := sysCPU(a, "topology/thread_siblings_list")
	return a == b || siblings != "" && siblings == sysCPU(b, "topology/thread_siblings_list")
}

func sameL3(a, b int) bool {
	return sysCPU(a, "cache/index3/shared_cpu_list") == sysCPU(b, "cache/index3/shared_cpu_list")
}

func cores(cpus []int) int {
	n := 0
	for i, c := range cpus {
		if !slices.ContainsFunc(cpus[:i], func(b int) bool { return sameCore(b, c) }) {
			n++
		}
	}
	return n
}

func caches(cpu int) []string {
	var list []string
	dirs, _ := filepath.Glob(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/cache/index*", cpu))
	for _, d := range dirs {
		list = append(list, fmt.Sprintf("L%s %s %s, shared by processors %s",
			read(d+"/level"), strings.ToLower(read(d+"/type")), read(d+"/size"), read(d+"/shared_cpu_list")))
	}
	return list
}

func cpuModel() string {
	for line := range strings.Lines(read("/proc/cpuinfo")) {
		key, value, _ := strings.Cut(line, ":")
		if k := strings.TrimSpace(key); k == "model name" || k == "CPU part" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

func governor(cpu int) string {
	if g := sysCPU(cpu, "cpufreq/scaling_governor"); g != "" {
		return g
	}
	return "not shown by the system"
}

func virtualisation() string {
	var seen []string
	for _, kind := range []string{"--vm", "--container"} {
		out, _ := exec.Command("systemd-detect-virt", kind).Output() // fails where there is none
		if name := strings.TrimSpace(string(out)); name != "" && name != "none" {
			seen = append(seen, name)
		}
	}
	if strings.Contains(read("/proc/cpuinfo"), "hypervisor") {
		seen = append(seen, "the processor shows a hypervisor")
	}
	if len(seen) == 0 {
		return "none seen"
	}
	return strings.Join(seen, ", ")
}

func kernel() string {
	var u unix.Utsname
	unix.Uname(&u)
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// Commit is what the sources here were made from, with a + if they have been changed since; empty
// if that is not known.
func Commit() string {
	out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return ""
	}
	commit := strings.TrimSpace(string(out))
	if out, err := exec.Command("git", "status", "--porcelain").Output(); err != nil || len(out) > 0 {
		commit += "+"
	}
	return commit
}

// Steal is the time in ticks that the host took from us so far, and all time.
func Steal() (steal, all int) {
	first, _, _ := strings.Cut(read("/proc/stat"), "\n")
	for i, f := range strings.Fields(first) {
		n, _ := strconv.Atoi(f)
		if i == 8 {
			steal = n
		}
		if i <= 8 {
			all += n
		}
	}
	return steal, all
}

func read(path string) string {
	b, _ := os.ReadFile(path)
	return strings.TrimSpace(string(b))
}

func head(s []string, n int) []string { return s[:min(n, len(s))] }
