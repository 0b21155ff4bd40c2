package labs

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// Lab is what one run of one mode works with: directories, chance and children. Its
// methods may be called concurrently; Rand belongs to the mode's own goroutine.
type Lab struct {
	Ctx context.Context
	Options
	Rand    *rand.Rand
	Rings   string // directory of the rings, on the same file system as real ones
	Files   string // directory of everything else
	Threads int    // that the wait for one child takes: 1, or more where its output is read

	mu       sync.Mutex
	children map[*Child]struct{}
	pids     map[int]bool
	most     int
}

// New makes the directories of a lab. Their names begin with that of the program.
func New(ctx context.Context, program string, o Options) (*Lab, error) {
	l := &Lab{
		Ctx: ctx, Options: o, Rand: rand.New(rand.NewPCG(o.Seed, 0)), Threads: 1,
		children: map[*Child]struct{}{}, pids: map[int]bool{os.Getpid(): true},
	}
	var err error
	if l.Rings, err = os.MkdirTemp(Memory(), program+"-*"); err != nil {
		return nil, err
	}
	if l.Files, err = os.MkdirTemp("", program+"-*"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(l.Rings))
	}
	return l, nil
}

// KillAll kills what is left of the children.
func (l *Lab) KillAll() {
	l.mu.Lock()
	left := make([]*Child, 0, len(l.children))
	for c := range l.children {
		left = append(left, c)
	}
	l.mu.Unlock()
	for _, c := range left {
		c.Kill()
	}
}

// Close kills what is left of the children and removes the directories. It returns the
// names of the files that were left where the rings are, unless the run was interrupted.
func (l *Lab) Close() (left []string) {
	l.KillAll()
	if l.Ctx.Err() == nil {
		left = l.Left()
	}
	_ = os.RemoveAll(l.Rings)
	_ = os.RemoveAll(l.Files)
	return left
}

// Left lists the files where the rings are.
func (l *Lab) Left() (names []string) {
	list, err := os.ReadDir(l.Rings)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// waits is how many threads have waited for children at one time.
func (l *Lab) waits() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.most * l.Threads
}

// IsOurs tells whether a process id is the lab's own, or belongs or has belonged to a child.
func (l *Lab) IsOurs(pid int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pids[pid]
}

// Within waits until something that must come true has, for as long as Patience says. It
// reports false after that, and when the run is interrupted.
func (l *Lab) Within(isTrue func() bool) bool {
	for end := time.Now().Add(Patience); !isTrue(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) || l.Ctx.Err() != nil {
			return false
		}
	}
	return true
}
