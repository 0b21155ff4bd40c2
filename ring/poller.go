package ring

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Poller lets one goroutine wait for many consumers, without a thread for each: [Poller.Wait]
// returns one that has something to say. Those that have are handed out in turns: each
// once before any of them again.
//
// A Poller and the consumers in it belong to one goroutine at a time: who calls Wait uses
// the consumers, with their Try calls only, and adds and removes them. Close, of the
// Poller and of each consumer, may be called by any goroutine.
type Poller struct {
	cfg     PollerConfig
	use     sync.Mutex // by the one goroutine, and by Close when that has gone
	done    chan struct{}
	closing sync.Once
	eager   eagerness

	members map[*Consumer]*member
	order   []*member // for upkeep in turns
	at      int       // in order: whose turn it is
	warm    []*member // neither armed nor in due: looked at again and again
	due     []*member // to be handed out, from next on
	next    int
	stalled int   // how many members wait for a stalled claim
	blinded int   // how many members cannot wake us up
	blind   error // why

	kept   time.Time     // when upkeep was done last
	rounds uint          // of hand-outs without a wait
	up     chan struct{} // a token: look into fired
	mu     sync.Mutex    // guards fired and member.fired; those who poke take it
	fired  []*member
}

// PollerConfig is how a Poller waits: see Config for Spin, FirstSleep and MaxSleep.
type PollerConfig struct {
	SpinFor              time.Duration
	FirstSleep, MaxSleep time.Duration
}

// member is one consumer of a Poller. It is armed, or in one of warm and due.
type member struct {
	c       *Consumer
	stop    func() // nil: nobody can wake us up for this one
	armed   bool   // its bell word was key, and says that we are parked
	key     uint32
	cold    int   // for how many looks in a row it had nothing
	fired   bool  // in Poller.fired
	stalled bool  // counted in Poller.stalled
	errand  error // to be told with the next hand-out
}

const (
	// coldAfter is how many looks at a consumer may be in vain, while others keep the
	// Poller busy, before it is armed.
	coldAfter = 64
	// busyRounds is how many rounds of hand-outs there are between two looks at the clock.
	busyRounds = 64
	// blindMost bounds sleeps where a consumer cannot wake us up.
	blindMost = 5 * time.Millisecond
	blindMin  = 50 * time.Microsecond
	// keepEach is how much time there is for upkeep of each consumer: it is late for many.
	keepEach = time.Millisecond
)

// NewPoller makes a Poller without consumers.
func NewPoller(cfg PollerConfig) *Poller {
	cfg.FirstSleep, cfg.MaxSleep = caps(cfg.FirstSleep, cfg.MaxSleep)
	p := &Poller{cfg: cfg, done: make(chan struct{}), members: make(map[*Consumer]*member), up: make(chan struct{}, 1), kept: time.Now()}
	p.eager.score.Store(eagerMost)
	return p
}

// Add adds a consumer. Adding it again does nothing. ErrClosed if the Poller is closed.
func (p *Poller) Add(c *Consumer) error {
	p.use.Lock()
	defer p.use.Unlock()
	if p.closed() {
		return ErrClosed
	}
	if p.members[c] != nil {
		return nil
	}
	m := &member{c: c}
	err := errors.ErrUnsupported
	if c.cfg.ParkingLot != nil {
		m.stop, err = c.cfg.ParkingLot.Subscribe(func() { p.fire(m) })
	}
	if m.stop == nil {
		p.blinded++
		p.blind = err
	}
	p.members[c] = m
	p.order = append(p.order, m)
	p.warm = append(p.warm, m)
	return nil
}

// Remove takes a consumer out. It reports whether it was in.
func (p *Poller) Remove(c *Consumer) bool {
	p.use.Lock()
	defer p.use.Unlock()
	m := p.members[c]
	if m == nil {
		return false
	}
	p.remove(m)
	m.disarm()
	return true
}

func (p *Poller) remove(m *member) {
	if m.stop != nil {
		m.stop() // afterwards nobody fires it
	} else {
		p.blinded--
	}
	if m.stalled {
		p.stalled--
	}
	delete(p.members, m.c)
	p.mu.Lock()
	p.fired = without(p.fired, m)
	p.mu.Unlock()
	p.order, p.warm, p.due = without(p.order, m), without(p.warm, m), without(p.due, m)
}

func without(list []*member, m *member) []*member {
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
	return p.members[c] != nil
}

// Len is how many consumers there are.
func (p *Poller) Len() int {
	p.use.Lock()
	defer p.use.Unlock()
	return len(p.members)
}

// Blind tells why some of the consumers cannot wake the Poller up, which then looks at
// all of them every few milliseconds; nil if all can.
func (p *Poller) Blind() error {
	p.use.Lock()
	defer p.use.Unlock()
	if p.blinded == 0 {
		return nil
	}
	return p.blind
}

// Close ends a Wait in progress and lets go of the consumers, which stay open.
func (p *Poller) Close() {
	p.closing.Do(func() {
		close(p.done)
		p.use.Lock()
		defer p.use.Unlock()
		for _, m := range p.members {
			if m.stop != nil {
				m.stop()
			}
			m.disarm()
		}
		p.members, p.order, p.warm, p.due = nil, nil, nil, nil
	})
}

func (p *Poller) closed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
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
			p.upkeep() // of those who are armed, though others never run dry
		}
	}
	m := p.due[p.next]
	p.due[p.next] = nil
	p.next++
	err := m.errand
	m.errand = nil
	if m.c.halt.Load() != 0 {
		p.remove(m)
		return m.c, m.c.why()
	}
	p.warm = append(p.warm, m) // looked at again when the others have had their turns
	return m.c, err
}
