package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// points kills at every kill point of every operation in every state of the ring, for
// both kinds; percent says how many of them.
func points(l *lab, percent int) {
	p := &pointKiller{exe: "/proc/self/exe", seen: make([]int, killpoint.Points)}
	if !tagged {
		p.exe = filepath.Join(l.Files, "killpoint")
		build := exec.Command("go", "build", "-tags", "killpoint", "-o", p.exe, "github.com/shmring/shmring/fuzz/killlab")
		if out, err := build.CombinedOutput(); err != nil {
			l.fault(&l.r.Other, "building with kill points, which needs the source tree: %v: %s", err, out)
			return
		}
	}
	scenarios, passed := 0, 0
	for t := range everyScenario(l, false) {
		scenarios++
		passed += p.everyPoint(t, percent)
	}
	if l.over() {
		return
	}
	l.r.Note("%d operations in a kind and a state of the ring; of their %d points %d were died at", scenarios, passed,
		l.r.Kills)
	if err := doorbell.Refused(layout.SysV); err != nil {
		l.r.Note("without the states on semaphores: %v", err)
	}
	var never, most []string
	for i, n := range p.seen {
		point := killpoint.Point(i)
		if n == 0 && canReach(point) && (percent < 100 || !p.reach(l, point)) {
			never = append(never, point.String())
		}
		most = append(most, fmt.Sprintf("%v %d", point, p.seen[i]))
	}
	if percent < 100 {
		l.r.Note("%d of %d kinds of points were died at", int(killpoint.Points)-len(never), killpoint.Points)
		return
	}
	if len(never) > 0 {
		l.fault(&l.r.Other, "never reached: %s", strings.Join(never, ", "))
	}
	for part := range slices.Chunk(most, 8) {
		l.r.Note("deaths at %s", strings.Join(part, ", "))
	}
}

// canReach tells whether the point is reached with the life locks and doorbells of this
// machine.
func canReach(p killpoint.Point) bool {
	switch {
	case p == killpoint.LockDirectoryMade, p == killpoint.LockFileMade, p == killpoint.LockFileUnlinked:
		return os.Getenv(shm.EnvLocks) == shm.Flock.String()
	case p == killpoint.CommitMarked: // where stores become visible in their order, and the system does barriers
		return runtime.GOARCH == "amd64" && labs.Join() == nil
	case p >= killpoint.NamespaceStored:
		return doorbell.Refused(layout.SysV) == nil
	}
	return true
}

// pointKiller is the killer whose victims end themselves.
type pointKiller struct {
	exe  string // a build with kill points
	seen []int  // deaths by point
}

// once does the operation with a death at its at-th point; at 0: none. It returns how
// many points were passed, and whether the victim died of one.
func (p *pointKiller) once(t scenario, at int) (hits int, died, ok bool) {
	change := func(c *exec.Cmd) { c.Path = p.exe }
	ok = t.run(pointRole, at, change, func() bool {
		gone := make(chan struct{})
		go func() {
			_ = t.victim.Wait()
			close(gone)
		}()
		t.victim.j.Set(command, 1)
		if !t.watch(gone) {
			return false
		}
		hits = int(t.victim.j.Get(extra))
		if died = t.victim.j.Get(phase) < operated; !died {
			return true
		}
		p.seen[t.victim.j.Get(where)]++
		t.l.killed()
		return t.victim.WasKilled() || t.must("the victim", t.victim.Wait())
	})
	return hits, died, ok
}

// watch waits for the victim's end, and gives way when it sleeps.
func (t *scenario) watch(gone <-chan struct{}) bool {
	gave := false
	for end := time.Now().Add(labs.Patience); ; {
		select {
		case <-gone:
			return true
		case <-time.After(100 * time.Microsecond):
		}
		if !gave && sleeps(t.victim.j.Get(where)) {
			gave = true
			t.giveWay()
		}
		if time.Now().After(end) {
			return t.fault(&t.l.r.Stuck, "the operation does not end")
		}
	}
}

// sleeps tells whether the point is the one after which a victim sleeps.
func sleeps(p uint64) bool {
	return killpoint.Point(p) == killpoint.Announced || killpoint.Point(p) == killpoint.DoorClosed
}

// everyPoint returns how many points the operation has. It ends with a victim that was
// to die at one more, and did not.
func (p *pointKiller) everyPoint(t scenario, percent int) int {
	hits := 0
	if percent < 100 {
		var ok bool
		if hits, _, ok = p.once(t, 0); !ok {
			return 0
		}
	}
	for at := 1; !t.l.over(); at++ {
		if at <= hits && t.l.Rand.IntN(100) >= percent {
			continue
		}
		if _, died, ok := p.once(t, at); !died || !ok {
			return at - 1
		}
	}
	return 0
}

// reach kills at a point by its name, where the first operation comes to it. A victim that
// waits passes more points in one life than in the next, so that counting may miss one near
// the end of an operation.
func (p *pointKiller) reach(l *lab, point killpoint.Point) bool {
	for t := range everyScenario(l, false) {
		t.only = point.String()
		if _, died, ok := p.once(t, 1); died && ok {
			return true
		}
	}
	return false
}
