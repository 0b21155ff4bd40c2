package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/stepper"
)

// stopLanes is how many rings are used at a time: a process that is stopped costs
// nothing.
const stopLanes = 16

// freeze is one lane of stop.
type freeze struct {
	*fixture
	victim *child
	rng    *rand.Rand
	debug  bool // by ptrace instead of SIGSTOP
	stops  int
}

// stop halts producers for a while between claim and commit, n times. They are alive,
// so nothing may happen to their claims.
func stop(l *lab, n int) {
	var lanes []*freeze
	well := true
	for i := 0; well && i < min(stopLanes, max(1, n/2)); i++ {
		f, ok := l.freeze(i)
		if f != nil {
			lanes = append(lanes, f)
		}
		well = ok
	}
	longest := 500 * time.Millisecond
	if l.Short {
		longest = 150 * time.Millisecond
	}
	begin := time.Now()
	var left atomic.Int64
	var failed atomic.Bool
	left.Store(int64(n))
	failed.Store(!well)
	var all sync.WaitGroup
	for _, f := range lanes {
		all.Go(func() {
			for left.Add(-1) >= 0 && !l.enough(begin) && !failed.Load() {
				if !f.once(50*time.Millisecond + time.Duration(f.rng.Int64N(int64(longest-50*time.Millisecond)))) {
					failed.Store(true)
				}
			}
		})
	}
	all.Wait()
	well = !failed.Load() && !l.over()
	stopped, debugged := 0, 0
	for _, f := range lanes {
		if f.debug {
			debugged += f.stops
		} else {
			stopped += f.stops
		}
		if well {
			f.victim.finish()
		}
		f.close(well)
	}
	l.r.Note("%d stops by SIGSTOP and %d by ptrace on %d rings in %.1f s", stopped, debugged, len(lanes),
		time.Since(begin).Seconds())
}

// freeze makes a lane with a producer that holds its first claim.
func (l *lab) freeze(i int) (*freeze, bool) {
	kind := shmring.KindMPSC
	if i%4 == 3 {
		kind = shmring.KindSPSC
	}
	t, ok := l.newFixture(fmt.Sprintf("lane %d, %v", i, kind), kind, 2)
	if !ok {
		return nil, false
	}
	f := &freeze{fixture: t, rng: rand.New(rand.NewPCG(l.Seed, uint64(i+1)))}
	t.rng = f.rng.IntN
	if t.receiver, ok = l.there(t.ring, nil); !ok {
		return f, false
	}
	if f.victim, _, ok = t.victim(nil); !ok {
		return f, false
	}
	if i == 0 {
		f.debug = f.traceable()
	}
	return f, true
}

// traceable tries whether the victim can be traced.
func (f *freeze) traceable() bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, err := stepper.Stop(f.victim.PID(), 0)
	_ = all.Release()
	if err != nil {
		f.l.r.Skip("ptrace: %v", err)
	}
	return err == nil
}

// once stops the victim for d, and then lets it commit and claim again.
func (f *freeze) once(d time.Duration) bool {
	if f.kind == shmring.KindMPSC {
		for range 1 + f.rng.IntN(2) {
			if !f.send(smallest) {
				return false
			}
		}
	}
	stopped := f.bySignal
	if f.debug {
		stopped = f.byTrace
	}
	ok := stopped(func() bool {
		time.Sleep(d)
		if !f.receiver.looked() {
			return false
		}
		if !f.receiver.silent() {
			return f.fault(&f.l.r.Disordered,
				"something came while the owner of the oldest claim was stopped: %v, passed over: %v",
				f.receiver.queue, f.receiver.skips)
		}
		return true
	})
	if !ok {
		return false
	}
	f.stops++
	seq := f.victim.args.Count + f.victim.j.Get(turns)/2
	f.commit(f.victim)
	if _, ok := f.message(f.victim.args.source(), seq); !ok {
		return false
	}
	if _, ok := f.rest(); !ok || !f.passed() {
		return false
	}
	f.commit(f.victim) // and claim again
	f.place(f.victim.args.Number)
	return f.l.reach(f.victim, entered+f.victim.j.Get(turns))
}

func (f *freeze) bySignal(during func() bool) bool {
	f.victim.Signal(unix.SIGSTOP)
	defer f.victim.Signal(unix.SIGCONT)
	return f.l.until(f.what+": a stopped process", func() bool { return state(f.victim.PID()) == 'T' }) && during()
}

// byTrace stops the victim as a debugger does, which belongs to one thread.
func (f *freeze) byTrace(during func() bool) bool {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	all, err := stepper.Stop(f.victim.PID(), 0)
	defer all.Release()
	return f.l.must(err) && during()
}
