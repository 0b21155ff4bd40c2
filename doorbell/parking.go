package doorbell

import (
	"sync"
	"sync/atomic"
	"time"
)

// NotifyFile is what parking needs of a segment; shm.Segment is one.
type NotifyFile interface {
	// Notify makes every function run that was given to OnNotify, on any handle of the same
	// segment in any process.
	Notify()
	// OnNotify has f called after every Notify from now on, until stop.
	OnNotify(f func()) (stop func(), err error)
	// Heard tells that f was called for something.
	Heard()
}

// ParkingLot is a second way to sleep, beside the bell of the ring's kind: goroutines are
// parked by the Go scheduler and woken through the segment's file, so that a sleeper
// keeps neither a thread nor, for the moment until the scheduler notices, a processor.
// Waking takes some microseconds more than a futex does. A ring's users may sleep
// either way at the same time; the bell word says which ways there are sleepers.
//
// All methods may be called by any number of goroutines.
type ParkingLot struct {
	file NotifyFile

	opening sync.Mutex // not mu: the first notification, on another goroutine, is part of opening
	opened  atomic.Bool
	stop    func()
	err     error // why nobody can be parked

	mu     sync.Mutex
	parked map[*waiter]struct{}
	subs   map[*func()]struct{}
}

// waiter is where one goroutine is parked.
type waiter struct {
	up    chan struct{} // a token: look at the word again
	timer *time.Timer
}

var waiters = sync.Pool{New: func() any {
	p := &waiter{up: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	p.timer.Stop()
	return p
}}

// NewParkingLot makes the parking lot of one handle.
func NewParkingLot(file NotifyFile) *ParkingLot {
	return &ParkingLot{file: file, parked: make(map[*waiter]struct{}), subs: make(map[*func()]struct{})}
}

// Open has to have returned nil once, on this handle, before a sleeper of this handle
// tells others that they have to notify the file. The error tells why nobody can be parked; it is
// found once.
func (l *ParkingLot) Open() error {
	if l.opened.Load() {
		return nil
	}
	l.opening.Lock()
	defer l.opening.Unlock()
	if l.stop == nil && l.err == nil {
		l.stop, l.err = l.file.OnNotify(l.everyoneUp)
		l.opened.Store(l.err == nil)
	}
	return l.err
}

// Subscribe has f called whenever those who are parked are woken, for good reason or
// not, until stop. f must not block, nor call l. The error is that of Open.
func (l *ParkingLot) Subscribe(f func()) (stop func(), err error) {
	if err := l.Open(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs[&f] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.subs, &f)
	}, nil
}

// Close gives back what Open took. Nobody may be parked, or will be.
func (l *ParkingLot) Close() {
	l.opening.Lock()
	defer l.opening.Unlock()
	if l.stop != nil {
		l.stop()
	}
	l.stop, l.err = func() {}, nil
}

// Sleep is [Bell].Sleep for a word of the segment.
func (l *ParkingLot) Sleep(word *atomic.Uint32, old uint32, limit time.Duration,
	stops []*atomic.Uint32) (timedOut bool) {
	p := waiters.Get().(*waiter)
	select {
	case <-p.up: // meant for another sleep
	default:
	}
	p.timer.Reset(limit)
	l.mu.Lock()
	l.parked[p] = struct{}{}
	l.mu.Unlock()
	defer func() { // also where the page of the word is missing
		l.mu.Lock()
		delete(l.parked, p)
		l.mu.Unlock()
		p.timer.Stop()
		waiters.Put(p)
	}()
	// From here on every notification leaves a token, so it does not matter when it comes.
	for !timedOut && word.Load() == old && !stopped(stops) {
		select {
		case <-p.up: // perhaps it was for the other word of this segment
		case <-p.timer.C:
			timedOut = true
		}
	}
	if !timedOut {
		l.file.Heard()
	}
	return timedOut
}

// Wake is [Bell].Wake.
func (l *ParkingLot) Wake() { l.file.Notify() }

// Stop is [Bell].Stop.
func (l *ParkingLot) Stop(stop *atomic.Uint32) {
	stop.Store(1)
	l.everyoneUp()
}

func (l *ParkingLot) everyoneUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.parked {
		select {
		case p.up <- struct{}{}:
		default:
		}
	}
	for f := range l.subs {
		l.file.Heard() // we cannot tell
		(*f)()
	}
}
