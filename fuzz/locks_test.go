package fuzz

import (
	"sync/atomic"
	"time"
)

// lockTable stands for the life locks of one ring: who holds the lock of which
// participant. One goroutine.
type lockTable struct {
	holder [256]*locks
}

// locks is one process's way to the table; it is what ring.Config.Locks gets.
type locks struct {
	table *lockTable
}

func (t *lockTable) process() *locks { return &locks{t} }

func (l *locks) TryLock(i int) (bool, error) {
	if l.table.holder[i] != nil {
		return false, nil
	}
	l.table.holder[i] = l
	return true, nil
}

func (l *locks) Unlock(i int) error {
	if l.table.holder[i] != l {
		panic("unlock of a lock that is not held")
	}
	l.table.holder[i] = nil
	return nil
}

// kill is what the kernel does when the process dies, whatever it died of.
func (l *locks) kill() {
	for i, h := range l.table.holder {
		if h == l {
			l.table.holder[i] = nil
		}
	}
}

// bell only counts: nobody sleeps here.
type bell struct{ wakes int }

func (b *bell) Wake(uint32)              { b.wakes++ }
func (b *bell) Stop(word *atomic.Uint32) { word.Store(1) }

// Sleep fails the script: no call made here may want to sleep.
func (b *bell) Sleep(uint32, time.Duration, []*atomic.Uint32) (bool, error) {
	panic("a call that must not block went to sleep")
}
