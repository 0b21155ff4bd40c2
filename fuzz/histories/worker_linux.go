package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/fuzz/internal/labs"
)

// worker is a child as the lab has it.
type worker struct {
	*labs.Child
	j      *journal
	failed error // instead of a child
}

// pool are the children that wait for a part. Killed ones are replaced meanwhile.
type pool struct {
	l      *labs.Lab
	idle   chan *worker
	names  atomic.Int64
	coming sync.WaitGroup // children that replace others
}

// poolSize is more than a history takes.
const poolSize = 10

func newPool(l *labs.Lab) (*pool, error) {
	p := &pool{l: l, idle: make(chan *worker, poolSize)}
	for range poolSize {
		w, err := p.spawn()
		if err != nil {
			return nil, err
		}
		p.idle <- w
	}
	return p, nil
}

func (p *pool) spawn() (*worker, error) {
	n := p.names.Add(1)
	path := filepath.Join(p.l.Files, fmt.Sprintf("j%d", n))
	j, err := openJournal(path)
	if err != nil {
		return nil, err
	}
	w := &worker{j: j}
	if w.Child, err = p.l.Spawn("a child", args{path, n%2 == 0}, nil); err != nil {
		w.forget()
		return nil, err
	}
	return w, nil
}

// replace gives back what a dead child had, and starts another child meanwhile. If there is
// none to be had, who waits for one finds out.
func (p *pool) replace(w *worker) {
	w.forget()
	p.coming.Go(func() {
		n, err := p.spawn()
		if err != nil {
			n = &worker{failed: err}
		}
		p.idle <- n
	})
}

// get returns a child that waits for a part.
func (p *pool) get() (*worker, error) {
	w := <-p.idle
	if w.failed != nil {
		return nil, w.failed
	}
	return w, nil
}

// close ends all children. Nobody has a part.
func (p *pool) close() {
	p.coming.Wait()
	for range len(p.idle) {
		if w, err := p.get(); err == nil {
			w.Kill()
			w.forget()
		}
	}
}

// forget gives a dead child's journal back.
func (w *worker) forget() {
	w.j.Close()
	_ = os.Remove(w.j.Path)
}

// tell asks for a phase of a part.
func (w *worker) tell(history uint64, phase int) { w.j.Set(told, phaseOf(history, phase)) }

// reach waits until a phase is over. The error says where the child is.
func (w *worker) reach(history uint64, phase int) error {
	if w.j.Await(reached, phaseOf(history, phase), labs.Patience) {
		return nil
	}
	at := w.j.Get(reached)
	w.Signal(unix.SIGQUIT) // it writes its stacks
	if !w.Ended(labs.Patience, nil) {
		w.Kill()
	}
	return fmt.Errorf("a child has not finished phase %d of its part within %v, but %d: %w",
		phase, labs.Patience, at%phases, w.Wait())
}

// awaitDeath waits until a victim is dead.
func (w *worker) awaitDeath() error {
	if !w.Ended(labs.Patience, nil) {
		w.Kill()
		return fmt.Errorf("a victim does not die within %v", labs.Patience)
	}
	if !w.WasKilled() {
		return fmt.Errorf("a victim was not killed: %w", w.Wait())
	}
	return nil
}
