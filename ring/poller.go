package ring

import (
	"context"
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring/internal/fault"
)

// Poller lets one goroutine wait for many consumers, without a thread for each.
// [Poller.Wait] returns one that has something to say. Those that have are handed out in
// turns: each once before any of them again.
//
// Wait is for one goroutine at a time, and the consumers in the Poller belong to it: it uses
// their Try calls only. Everything else may be called by any goroutine at any time, also
// while Wait sleeps, and by what Config.OnSkip and OnStall call. Close of a consumer too.
type Poller struct {
	cfg      PollerConfig
	done     chan struct{}
	closing  sync.Once
	up       chan struct{} // a token: look into signalled and arrived
	adaptive adaptive

	// looking is held by Wait while it touches consumers: not while it sleeps, and not while
	// one of them calls its user. Whoever has taken a consumer out locks it once, and knows
	// that Wait has done with that consumer. It guards what follows.
	looking    sync.Mutex
	waiting    bool     // a Wait is in progress
	order      []*entry // to maintain them in turns
	at         int      // in order: who is maintained next
	polled     []*entry // neither armed nor in due: looked at again and again
	due        []*entry // to be handed out, from next on
	next       int
	stalled    int       // how many entries wait for a stalled claim
	maintained time.Time // when some were maintained last
	rounds     uint      // of hand-outs without a wait

	// mu is taken for a moment, also by who wakes us up. It guards what follows.
	mu              sync.Mutex
	entries         map[*Consumer]*entry
	signalled       []*entry
	arrived         []*entry    // added, and Wait does not know yet
	changed         atomic.Bool // one of the two has something, or an entry has left
	unsubscribed    int         // how many entries cannot wake us up
	whyUnsubscribed error       // why
}

// PollerConfig is how a Poller waits: see Config for SpinFor, FirstSleep and MaxSleep.
type PollerConfig struct {
	SpinFor              time.Duration
	FirstSleep, MaxSleep time.Duration
}

// entry is one consumer of a Poller. It is armed, or in one of polled and due, or has left:
// then Wait drops it when it comes across it.
type entry struct {
	c    *Consumer
	left atomic.Bool // set under mu

	stop      func() // nil: nobody can wake us up for this one. Written before it arrives
	joined    bool   // it has arrived (mu)
	signalled bool   // in Poller.signalled (mu)

	armed      bool   // its bell word was key, and says that we are parked
	key        uint32 // as are the rest: looking
	idleRounds int    // for how many looks in a row it had nothing
	stalled    bool   // counted in Poller.stalled
	pendingErr error  // to be returned with the next hand-out
}

const (
	// armAfter is how many looks at a consumer may be in vain, while others keep the
	// Poller busy, before it is armed.
	armAfter = 64
	// busyRounds is how many rounds of hand-outs there are between two looks at the clock.
	busyRounds = 64
	// unsubscribedMost bounds sleeps where a consumer cannot wake us up.
	unsubscribedMost = 5 * time.Millisecond
	unsubscribedMin  = 50 * time.Microsecond
	// maintainEach is how much time there is to maintain each consumer: it is late for many.
	maintainEach = time.Millisecond
)

// NewPoller makes a Poller without consumers.
func NewPoller(cfg PollerConfig) *Poller {
	cfg.FirstSleep, cfg.MaxSleep = sleepBounds(cfg.FirstSleep, cfg.MaxSleep)
	p := &Poller{
		cfg: cfg, done: make(chan struct{}), entries: make(map[*Consumer]*entry), up: make(chan struct{}, 1),
		maintained: time.Now(),
	}
	p.adaptive.start(0)
	return p
}

// Add adds a consumer, which Wait then looks at, also if it is sleeping. Adding it again
// does nothing. ErrClosed if the Poller is closed.
func (p *Poller) Add(c *Consumer) error {
	m := &entry{c: c}
	p.mu.Lock()
	if p.closed() {
		p.mu.Unlock()
		return ErrClosed
	}
	if p.entries[c] != nil {
		p.mu.Unlock()
		return nil
	}
	p.entries[c] = m
	p.mu.Unlock()
	// Without mu: this may ask the system, and calls signal under a lock of its own.
	stop, err := func() {}, errors.ErrUnsupported
	if c.cfg.ParkingLot != nil {
		stop, err = c.cfg.ParkingLot.Subscribe(func() { p.signal(m) })
	}
	p.mu.Lock()
	if m.left.Load() { // somebody was quicker
		closed := p.closed()
		p.mu.Unlock()
		if err == nil {
			stop()
		}
		if closed {
			return ErrClosed
		}
		return nil
	}
	m.joined = true
	if err == nil {
		m.stop = stop
	} else {
		p.unsubscribed++
		p.whyUnsubscribed = err
	}
	p.arrived = append(p.arrived, m)
	p.wake()
	p.mu.Unlock()
	return nil
}

// Remove takes a consumer out. It reports whether it was in. After that Wait does not touch
// the consumer, unless it is just now calling the consumer's OnSkip or OnStall: then until it
// has returned from that.
func (p *Poller) Remove(c *Consumer) bool {
	m := p.expel(c)
	if m == nil {
		return false
	}
	p.looking.Lock()
	defer p.looking.Unlock()
	m.disarm()
	return true
}

// expel takes a consumer off the list: it is not handed out any more.
func (p *Poller) expel(c *Consumer) *entry {
	p.mu.Lock()
	m := p.entries[c]
	if m == nil {
		p.mu.Unlock()
		return nil
	}
	delete(p.entries, c)
	m.left.Store(true)
	if m.joined && m.stop == nil {
		p.unsubscribed--
	}
	p.changed.Store(true)
	p.mu.Unlock()
	m.unsubscribe()
	return m
}

// unsubscribe is called without mu, which signal takes under the lock that this takes.
func (m *entry) unsubscribe() {
	if m.stop != nil {
		m.stop() // afterwards nobody fires it
	}
}

// Has reports whether a consumer is in it.
func (p *Poller) Has(c *Consumer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.entries[c] != nil
}

// Len is how many consumers there are.
func (p *Poller) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.entries)
}

// Blind tells why some of the consumers cannot wake the Poller up, which then looks at
// all of them every few milliseconds; nil if all can.
func (p *Poller) Blind() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unsubscribed == 0 {
		return nil
	}
	return p.whyUnsubscribed
}

// Close ends a Wait in progress and lets go of the consumers, which stay open. After that
// Wait does not touch them, with the exception that Remove names.
func (p *Poller) Close() {
	p.closing.Do(func() {
		close(p.done)
		p.mu.Lock()
		all := p.entries
		p.entries, p.unsubscribed = nil, 0
		for _, m := range all {
			m.left.Store(true)
		}
		p.mu.Unlock()
		for _, m := range all {
			m.unsubscribe()
		}
		p.looking.Lock()
		defer p.looking.Unlock()
		for _, m := range all {
			m.disarm()
		}
		p.forget()
	})
}

// forget lets go of the entries of a Poller that is closed, unless a Wait is in the middle of
// them, which then does it.
func (p *Poller) forget() {
	if !p.waiting && p.closed() {
		p.order, p.polled, p.due, p.next = nil, nil, nil, 0
	}
}

// Wait returns a consumer that has a message, or news that its Try calls will tell: the
// end of its stream, the death of its producer, corruption. It waits for one until ctx
// ends; if that has ended already it returns at once, whatever there is. Now and then a
// consumer has nothing after all. An error together with a consumer is that consumer's: what
// its Check found, or why its handle is of no use any more (ErrClosed, a *CorruptError), in
// which case it has left the Poller. Errors without one: a *ContextError, ErrClosed. A Wait
// during a Wait panics.
func (p *Poller) Wait(ctx context.Context) (*Consumer, error) {
	p.looking.Lock()
	if p.waiting {
		p.looking.Unlock()
		panic("shmring: concurrent use of a Poller, whose Wait is for one goroutine at a time")
	}
	p.waiting = true
	defer p.endWait()
	for {
		if c, err := p.pick(ctx); err != errAgain {
			return c, err
		}
	}
}

// pick is Wait, guarded: errAgain after a fault in the memory of one of the consumers, which is
// among those that are due then.
func (p *Poller) pick(ctx context.Context) (_ *Consumer, err error) {
	was := debug.SetPanicOnFault(true)
	defer func() {
		if recovered := recover(); recovered != nil {
			defer debug.SetPanicOnFault(was)
			p.startOver(recovered)
			err = errAgain
			return
		}
		debug.SetPanicOnFault(was)
	}()
	for {
		if p.closed() {
			return nil, ErrClosed
		}
		if ctx.Err() != nil {
			return nil, contextError("poll", ctx)
		}
		if p.next == len(p.due) {
			if !p.gather(true) {
				if err := p.await(ctx); err != nil {
					return nil, err
				}
			} else if p.rounds++; p.rounds%busyRounds == 0 {
				p.maintain() // of those who are armed, though others never run dry
			}
		}
		m := p.due[p.next]
		p.due[p.next] = nil
		p.next++
		if m.left.Load() {
			continue
		}
		err := m.pendingErr
		m.pendingErr = nil
		if m.c.Closed() {
			p.expel(m.c)
			return m.c, m.c.closeReason()
		}
		p.polled = append(p.polled, m) // looked at again when the others have had their turns
		return m.c, err
	}
}

// startOver is after a fault, which may have come in the middle of each step. It looks whose it
// was, and at all that are not armed anew.
func (p *Poller) startOver(recovered any) {
	whose := p.find(recovered)
	if whose == nil {
		panic(recovered)
	}
	if whose.c.gate.leave(); whose.armed {
		whose.armed = false // there is nothing to withdraw
	}
	_ = whose.c.forsake(whose.c.lost(recovered))
	p.polled, p.due, p.next = p.polled[:0], p.due[:0], 0
	for _, m := range p.order {
		if !m.armed {
			p.polled = append(p.polled, m) // those that have left are dropped there
		}
	}
}

// find returns the entry in whose memory a fault was, or nil.
func (p *Poller) find(recovered any) *entry {
	addr, ok := fault.Address(recovered)
	if !ok {
		return nil
	}
	for _, m := range p.order {
		if m.c.cfg.Memory != nil && m.c.cfg.Memory.Lost(addr) != nil {
			return m
		}
	}
	return nil
}

func (p *Poller) endWait() {
	p.waiting = false
	p.forget()
	p.looking.Unlock()
}
