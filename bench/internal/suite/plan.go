// Package suite decides what is measured, in what order, and measures it.
package suite

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/shmring/shmring/bench/internal/machine"
	"github.com/shmring/shmring/bench/internal/placement"
	"github.com/shmring/shmring/bench/internal/report"
	"github.com/shmring/shmring/bench/internal/runner"
	"github.com/shmring/shmring/bench/internal/work"
)

// Sizes of messages: inline in a descriptor (8, 32, and 48 is the longest), just not
// (64), with their header a power of two (248, 1016, 4088, 65528), and long.
var Sizes = []int{8, 32, 48, 64, 248, 1016, 4088, 65528, 1 << 20}

// Settings are what a run does.
type Settings struct {
	Quick  bool
	Rounds int // 0: as many as the budget allows
	Run    *regexp.Regexp
	Pin    bool
	Seed   uint64
	Scale  float64 // of all durations; 0: 1
	Dir    string
	// Known is the gap between near and far of an earlier run, and KnownFrom its file: for a
	// run that sees one placement only. nil: none.
	Known     *placement.Gap
	KnownFrom string
	Peers     []*runner.Transport // programs of -peers
	BadPeers  []runner.BadPeer    // what is no program there
}

// job is one measurement of a round.
type job struct {
	cell      *report.Cell
	transport *runner.Transport
	job       work.Job
	cpus      []int
	fails     int // how often it did
}

// planner collects jobs.
type planner struct {
	s    Settings
	m    *machine.Machine
	jobs []*job
	seen map[report.Key]bool
}

// Plan lists what would be measured on a machine.
func plan(s Settings, m *machine.Machine) []*job {
	p := &planner{s: s, m: m, seen: map[report.Key]bool{}}
	if s.Quick {
		p.quick()
	} else {
		p.full()
	}
	return p.jobs
}

// quick is what the targets need, and what a reader looks for first.
func (p *planner) quick() {
	everyone := names()
	rivals := names(runner.Cpp)
	ours := []string{"shmring", "shmring-zc", "shmring-mpsc"}
	main := p.main()
	p.speed(main)
	p.defaults()
	p.peers(main, []int{8, 32, 1016, 65536})
	p.add("rtt", everyone, []int{32}, main)
	p.add("blocked", everyone, []int{32}, main)
	p.add("stream", everyone, []int{32}, main)
	p.add("stream", slices.Concat(ours, rivals), []int{8, 48, 248, 1016}, main)
	p.add("stream", slices.Concat([]string{"shmring"}, names(runner.Limit)), []int{65528, 1 << 20}, main)
	for _, n := range []int{1, 64} {
		p.batch(n, []string{"shmring", "boost-spsc", "moodycamel-cq"}, []int{8, 32, 48}, main)
	}
	p.batch(1, []string{"shmring", "boost-spsc", "moodycamel-cq"}, []int{248, 1016}, main)
	p.batch(1, []string{"shmring"}, []int{65528, 1 << 20}, main)
	p.crowd([]string{"shmring-mpsc", "moodycamel-cq", "ck-ring"}, []int{32}, main)
	p.memory()
}

// speed is what the targets in nanoseconds need, and what they are compared with.
func (p *planner) speed(place string) {
	p.add("stream", []string{"shmring", runner.RawRing}, []int{8, 32, 48, 64, 248, 1016, 4096, 65536}, place)
	p.add("stream", []string{"shmring-zc", "shmring-mpsc"}, []int{8, 32, 248, 1016}, place)
	p.add("stream", []string{"shmring-try"}, []int{8, 32}, place)
	p.add("rtt", []string{"shmring-try"}, []int{32}, place)
	p.add("rtt", []string{"shmring", runner.RawRing, "raw-pingpong", "raw-pingpong-pause"}, []int{8, 32, 64, 1016}, place)
	p.add("mixed", []string{"shmring"}, []int{0}, place)
	p.batch(64, []string{"shmring", "shmring-zc", runner.RawRing}, []int{8, 32}, place)
	for _, n := range []int{1, 2, 4} {
		for _, size := range []int{8, 32} {
			p.one(fmt.Sprintf("mpsc-%d", n), "mpsc", "shmring-mpsc", size, place, work.Job{Producers: n})
		}
	}
}

// defaults are those who ask for nothing, where the system puts them and where taskset does.
func (p *planner) defaults() {
	for _, place := range []string{p.main(), machine.Taskset, machine.Free} {
		if p.m.Place(place) == nil || !p.s.Pin && place == machine.Taskset {
			continue
		}
		p.add("rtt", []string{"shmring-default", "raw-pingpong", "pipe"}, []int{32}, place)
		p.add("stream", []string{"shmring-default", runner.RawRing, "pipe"}, []int{32}, place)
	}
}

// peers are measured in what they said they can do.
func (p *planner) peers(place string, sizes []int) {
	for _, t := range p.s.Peers {
		for _, w := range []string{"rtt", "stream"} {
			for _, size := range sizes {
				p.transport(w, w, t, size, place, work.Job{})
			}
		}
	}
}

// full is everything.
func (p *planner) full() {
	everyone := names()
	main := p.main()
	for _, w := range []string{"rtt", "stream"} {
		p.add(w, everyone, Sizes, main)
	}
	p.speed(main)
	p.defaults()
	p.peers(main, append(slices.Clone(Sizes), 4096, 65536))
	p.add("blocked", everyone, []int{32}, main)
	p.add("oneway", everyone, []int{32, 1016, 65528}, main)
	p.add("wake", everyone, []int{32}, main)
	p.add("mixed", everyone, []int{0}, main)
	for _, n := range []int{1, 8, 64} {
		p.batch(n, everyone, []int{8, 32, 48, 248}, main)
	}
	p.batch(1, []string{"shmring", "boost-spsc", "moodycamel-cq"}, []int{1016, 65528, 1 << 20}, main)
	p.crowd(everyone, []int{32, 1016}, main)
	p.memory()
	for _, place := range p.m.Places {
		if place.Name != main && !place.Born && (p.s.Pin || place.Name == machine.Free) {
			p.add("rtt", everyone, []int{32}, place.Name)
			p.add("stream", everyone, []int{32, 1016}, place.Name)
			if place.Name == machine.Free {
				p.crowd([]string{"shmring-mpsc", "moodycamel-cq", "ck-ring"}, []int{32}, place.Name)
			}
		}
	}
}

// main is the place where everything is measured.
func (p *planner) main() string {
	if p.s.Pin && p.m.Place(machine.Pinned) != nil {
		return machine.Pinned
	}
	return machine.Free
}

// names are the transports of some groups; none: all.
func names(groups ...runner.Group) []string {
	var list []string
	for _, t := range runner.Transports {
		if t.Absent == "" && (len(groups) == 0 || slices.Contains(groups, t.Group)) {
			list = append(list, t.Name)
		}
	}
	return list
}

func (p *planner) add(w string, transports []string, sizes []int, place string) {
	for _, size := range sizes {
		for _, t := range transports {
			p.one(w, w, t, size, place, work.Job{})
		}
	}
}

func (p *planner) batch(n int, transports []string, sizes []int, place string) {
	for _, size := range sizes {
		for _, t := range transports {
			if runner.Find(t).Batches {
				p.one(fmt.Sprintf("batch-%d", n), "batch", t, size, place, work.Job{Batch: n})
			}
		}
	}
}

// crowd measures MPSC with the usual numbers of producers, and with more where there
// are cores for them.
func (p *planner) crowd(transports []string, sizes []int, place string) {
	counts := slices.Clone(report.Crowd)
	for _, n := range []int{3, 6, 11, 14} {
		if n < p.m.Cores && p.m.Cores > report.Crowd[len(report.Crowd)-1] {
			counts = append(counts, n)
		}
	}
	slices.Sort(counts)
	for _, n := range counts {
		for _, size := range sizes {
			for _, t := range transports {
				p.one(fmt.Sprintf("mpsc-%d", n), "mpsc", t, size, place, work.Job{Producers: n})
			}
		}
	}
}

func (p *planner) memory() {
	for _, w := range []string{"resident", "attach", "create"} {
		p.one(w, w, "shmring", 0, machine.Free, work.Job{Role: "special"})
	}
}

// units of the values, by work.
func unit(w string) string {
	switch w {
	case "rtt", "blocked":
		return "ns/trip"
	case "oneway", "wake":
		return "ns one way"
	case "resident":
		return "bytes"
	case "attach", "create":
		return "ns"
	}
	return "ns/msg"
}

func (p *planner) one(name, w, transport string, size int, place string, j work.Job) {
	p.transport(name, w, runner.Find(transport), size, place, j)
}

func (p *planner) transport(name, w string, t *runner.Transport, size int, place string, j work.Job) {
	special := j.Role == "special"
	if !special && !t.Does(w, size) {
		return
	}
	c := &report.Cell{Work: name, Size: size, Transport: t.Name, Group: string(t.Group), Where: t.Where, Place: place,
		Unit: unit(w), Anywhere: special}
	if p.seen[c.Key()] || p.s.Run != nil && !p.s.Run.MatchString(c.Key().String()) {
		return
	}
	p.seen[c.Key()] = true
	j.Work, j.Size = w, size
	if w == "mixed" {
		j.Size = 4088
	}
	j.For = p.duration(w, size, j.Producers)
	j.Pace = pace(w)
	var cpus []int
	if place := p.m.Place(place); place != nil && !special {
		cpus, j.Born = place.CPUs, place.Born
	}
	p.jobs = append(p.jobs, &job{cell: c, transport: t, job: j, cpus: cpus})
}

// pace is how long the sender of oneway and wake rests between messages: long enough
// that nothing queues up, and for wake that everybody has gone to sleep.
func pace(w string) time.Duration {
	if w == "wake" {
		return 2 * time.Millisecond
	}
	return 20 * time.Microsecond
}

// duration of one measurement. Several producers on one core take turns of some
// milliseconds, and each should have many.
func (p *planner) duration(w string, size, producers int) time.Duration {
	d := 40 * time.Millisecond
	switch {
	case producers > 1:
		d = time.Duration(150+30*producers) * time.Millisecond
	case w == "wake":
		d = 200 * time.Millisecond
	case w == "blocked" || size > 4096:
		d = 60 * time.Millisecond
	}
	if !p.s.Quick && producers <= 1 && w != "wake" {
		d = d * 3 / 2
	}
	if p.s.Scale > 0 {
		d = time.Duration(float64(d) * p.s.Scale)
	}
	return d
}
