package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/shmring/shmring/fuzz/histories/spec"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// lab is one run of one mode.
type lab struct {
	*labs.Lab
	r     *result
	mpsc  bool
	kills string

	mu         sync.Mutex // r
	violations atomic.Int64
}

const (
	checkLimit = 20 * time.Second // for one history: most take a millisecond
	enough     = 3                // violations, to end a run
)

// recorded is a history on its way to porcupine.
type recorded struct {
	number uint64
	*spec.History
}

// run records n histories, and checks one while the next are recorded.
func (l *lab) run(n int) {
	p, err := newPool(l.Lab)
	if err != nil {
		l.r.other("%v", err)
		return
	}
	list := make(chan recorded, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for h := range list {
			l.judge(h)
		}
	}()
	for i := 1; i <= n && l.Ctx.Err() == nil && l.violations.Load() < enough; i++ {
		h := plan(uint64(i), l.Rand, l.mpsc, l.kills == "all" || l.kills == "half" && i%2 == 0, l.Rings)
		err := h.perform(l.Ctx, p)
		var to *spec.History
		if err == nil {
			to, err = h.history()
		}
		if err != nil {
			l.giveUp(h, err)
			break
		}
		list <- recorded{h.number, to}
		h.giveBack(p)
	}
	close(list)
	<-done
	p.close()
}

// giveUp reports a history that came to no end. Where its members are nobody knows: they are
// killed with the lab.
func (l *lab) giveUp(h *cast, err error) {
	l.KillAll()
	for _, name := range l.Left() {
		_ = os.Remove(filepath.Join(l.Rings, name))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.r.other("history %d: %v", h.number, err)
}

// judge counts a history and has it checked.
func (l *lab) judge(h recorded) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.r.count(h.History)
	if l.violations.Load() >= enough {
		return
	}
	switch h.Check(checkLimit) {
	case porcupine.Unknown:
		l.r.Undecided++
	case porcupine.Illegal:
		l.violations.Add(1)
		l.r.Violations++
		l.r.Problem("history %d cannot be explained: %s", h.number, l.write(h))
	}
}

// write writes a history to a file that stays, and returns where it is.
func (l *lab) write(h recorded) string {
	f, err := os.CreateTemp("", fmt.Sprintf("histories-%s-%d-*.txt", l.r.Mode, h.number))
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	h.Explain(f)
	return f.Name()
}
