package main

import (
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// points kills at every kill point of every operation in every state of the ring, for
// both kinds; percent says how many of them.
func points(l *lab, percent int) {
	exe := "/proc/self/exe"
	if !tagged {
		exe = filepath.Join(l.Files, "killpoint")
		build := exec.Command("go", "build", "-tags", "killpoint", "-o", exe, "github.com/shmring/shmring/fuzz/killlab")
		if out, err := build.CombinedOutput(); err != nil {
			l.fault(&l.r.Other, "building with kill points, which needs the source tree: %v: %s", err, out)
			return
		}
	}
	seen := make([]int, killpoint.Points)
	trials, passed := 0, 0
	for t := range everyTrial(l) {
		trials++
		passed += everyPoint(l, t, exe, percent, seen)
	}
	if l.over() {
		return
	}
	l.r.Note("%d operations in a kind and a state of the ring; of their %d points %d were died at", trials, passed,
		l.r.Kills)
	if err := doorbell.Refused(layout.SysV); err != nil {
		l.r.Note("without the states on semaphores: %v", err)
	}
	var never []string
	for p, n := range seen {
		if n == 0 && !(lockFile(killpoint.Point(p)) && os.Getenv(shm.EnvLocks) != shm.Flock.String()) &&
			(p < int(killpoint.NamespaceStored) || doorbell.Refused(layout.SysV) == nil) &&
			(percent < 100 || !reach(l, killpoint.Point(p), exe, seen)) {
			never = append(never, killpoint.Point(p).String())
		}
	}
	if percent < 100 {
		l.r.Note("%d of %d kinds of points were died at", int(killpoint.Points)-len(never), killpoint.Points)
	} else if len(never) > 0 {
		l.fault(&l.r.Other, "never reached: %s", strings.Join(never, ", "))
	}
	var most []string
	for p, n := range seen {
		most = append(most, fmt.Sprintf("%v %d", killpoint.Point(p), n))
	}
	if percent >= 100 {
		for part := range slices.Chunk(most, 8) {
			l.r.Note("deaths at %s", strings.Join(part, ", "))
		}
	}
}

// everyTrial yields every operation in every kind and state of the ring, until time is up.
func everyTrial(l *lab) iter.Seq[trial] {
	return func(yield func(trial) bool) {
		for _, op := range operations {
			for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
				if op.kinds != "both" && op.kinds != kind.String() {
					continue
				}
				for state := range strings.FieldsSeq(op.states) {
					if onSemaphores(state) && doorbell.Refused(layout.SysV) != nil {
						continue
					}
					if l.over() || !yield(trial{l: l, op: op, kind: kind, state: state}) {
						return
					}
				}
			}
		}
	}
}

// reach kills at a point by its name, where the first operation comes to it. A victim that
// waits passes more points in one life than in the next, so that counting may miss one near
// the end of an operation.
func reach(l *lab, p killpoint.Point, exe string, seen []int) bool {
	for t := range everyTrial(l) {
		t.only = p.String()
		if _, _, died, ok := t.run(1, exe); died && ok {
			seen[p]++
			return true
		}
	}
	return false
}

// everyPoint returns how many points the operation has. It ends with a victim that was
// to die at one more, and did not.
func everyPoint(l *lab, t trial, exe string, percent int, seen []int) int {
	hits := 0
	if percent < 100 {
		look := t
		var ok bool
		if hits, _, _, ok = look.run(0, exe); !ok {
			return 0
		}
	}
	for at := 1; !l.over(); at++ {
		if at <= hits && l.Rand.IntN(100) >= percent {
			continue
		}
		fresh := t
		_, last, died, ok := fresh.run(at, exe)
		if !died || !ok {
			return at - 1
		}
		seen[last]++
	}
	return 0
}

// lockFile tells whether the point is only reached with life locks by flock.
func lockFile(p killpoint.Point) bool {
	return p == killpoint.LockFileMade || p == killpoint.LockFileUnlinked
}

// sleeps tells whether the point is the one after which a victim sleeps.
func sleeps(p uint64) bool {
	return killpoint.Point(p) == killpoint.Announced || killpoint.Point(p) == killpoint.DoorClosed
}

// runs makes a child of another build of this program.
func runs(exe string) func(*exec.Cmd) {
	return func(c *exec.Cmd) { c.Path = exe }
}
