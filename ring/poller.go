package ring

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Poller lets one goroutine wait for many consumers, without a thread for each.
// [Poller.Wait] returns one that has something to say. Those that have are handed out in
// turns: each once before any of them again.
//
// A Poller and the consumers in it belong to one goroutine at a time: who calls Wait uses
// the consumers, with their Try calls only, and adds and removes them. Close, of the
// Poller and of each consumer, may be called by any goroutine.
type Poller struct {
	cfg      PollerConfig
	use      sync.Mutex // by the one goroutine, and by Close when that has gone
	done     chan struct{}
	closing  sync.Once
	adaptive adaptive

	entries         map[*Consumer]*entry
	order           []*entry // to maintain them in turns
	at              int      // in order: who is maintained next
	polled          []*entry // neither armed nor in due: looked at again and again
	due             []*entry // to be handed out, from next on
	next            int
	stalled         int   // how many entries wait for a stalled claim
	unsubscribed    int   // how many entries cannot wake us up
	whyUnsubscribed error // why

	maintained time.Time     // when some were maintained last
	rounds     uint          // of hand-outs without a wait
	up         chan struct{} // a token: look into signalled
	mu         sync.Mutex    // guards signalled and entry.signalled; signal takes it
	signalled  []*entry
}

// PollerConfig is how a Poller waits: see Config for SpinFor, FirstSleep and MaxSleep.
type PollerConfig struct {
	SpinFor              time.Duration
	FirstSleep, MaxSleep time.Duration
}

// entry is one consumer of a Poller. It is armed, or in one of polled and due.
type entry struct {
	c          *Consumer
	stop       func() // nil: nobody can wake us up for this one
	armed      bool   // its bell word was key, and says that we are parked
	key        uint32
	idleRounds int   // for how many looks in a row it had nothing
	signalled  bool  // in Poller.signalled
	stalled    bool  // counted in Poller.stalled
	pendingErr error // to be returned with the next hand-out
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
	p.adaptive.start()
	return p
}

// Add adds a consumer. Adding it again does nothing. ErrClosed if the Poller is closed.
func (p *Poller) Add(c *Consumer) error {
	p.use.Lock()
	defer p.use.Unlock()
	if p.closed() {
		return ErrClosed
	}
	if p.entries[c] != nil {
		return nil
	}
	m := &entry{c: c}
	err := errors.ErrUnsupported
	if c.cfg.ParkingLot != nil {
		m.stop, err = c.cfg.ParkingLot.Subscribe(func() { p.signal(m) })
	}
	if m.stop == nil {
		p.unsubscribed++
		p.whyUnsubscribed = err
	}
	p.entries[c] = m
	p.order = append(p.order, m)
	p.polled = append(p.polled, m)
	return nil
}

// Remove takes a consumer out. It reports whether it was in.
func (p *Poller) Remove(c *Consumer) bool {
	p.use.Lock()
	defer p.use.Unlock()
	m := p.entries[c]
	if m == nil {
		return false
	}
	p.remove(m)
	m.disarm()
	return true
}

func (p *Poller) remove(m *entry) {
	if m.stop != nil {
		m.stop() // afterwards nobody fires it
	} else {
		p.unsubscribed--
	}
	if m.stalled {
		p.stalled--
	}
	delete(p.entries, m.c)
	p.mu.Lock()
	p.signalled = without(p.signalled, m)
	p.mu.Unlock()
	p.order, p.polled, p.due = without(p.order, m), without(p.polled, m), without(p.due, m)
}

func without(list []*entry, m *entry) []*entry {
	for i := range list {
		if list[i] == m {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}

// Has reports whether a consumer is in it.
func (p *Poller) Has(c *Consumer) bool {
	p.use.Lock()
	defer p.use.Unlock()
	return p.entries[c] != nil
}

// Len is how many consumers there are.
func (p *Poller) Len() int {
	p.use.Lock()
	defer p.use.Unlock()
	return len(p.entries)
}

// Blind tells why some of the consumers cannot wake the Poller up, which then looks at
// all of them every few milliseconds; nil if all can.
func (p *Poller) Blind() error {
	p.use.Lock()
	defer p.use.Unlock()
	if p.unsubscribed == 0 {
		return nil
	}
	return p.whyUnsubscribed
}

// Close ends a Wait in progress and lets go of the consumers, which stay open.
func (p *Poller) Close() {
	p.closing.Do(func() {
		close(p.done)
		p.use.Lock()
		defer p.use.Unlock()
		for _, m := range p.entries {
			if m.stop != nil {
				m.stop()
			}
			m.disarm()
		}
		p.entries, p.order, p.polled, p.due = nil, nil, nil, nil
	})
}

// Wait returns a consumer that has a message, or news that its Try calls will tell: the
// end of its stream, the death of its producer, corruption. It waits for one until ctx
// ends. Now and then a consumer has nothing after all. An error together with a consumer
// is that consumer's: what its Check found, or why its handle is of no use any more
// (ErrClosed, a *CorruptError), in which case it has left the Poller. Errors without one:
// a *ContextError, ErrClosed.
func (p *Poller) Wait(ctx context.Context) (*Consumer, error) {
	p.use.Lock()
	defer p.use.Unlock()
	if p.closed() {
		return nil, ErrClosed
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
	err := m.pendingErr
	m.pendingErr = nil
	if m.c.Closed() {
		p.remove(m)
		return m.c, m.c.closeReason()
	}
	p.polled = append(p.polled, m) // looked at again when the others have had their turns
	return m.c, err
}
