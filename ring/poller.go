package ring

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
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

	kept  time.Time     // when upkeep was done last
	up    chan struct{} // a token: look into fired
	mu    sync.Mutex    // guards fired and member.fired; those who poke take it
	fired []*member
}

// PollerConfig is how a Poller waits: see Config for Spin, Cap and CapMost.
type PollerConfig struct {
	Spin         time.Duration
	Cap, CapMost time.Duration
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
	// blindMost bounds sleeps where a consumer cannot wake us up.
	blindMost = 5 * time.Millisecond
	blindMin  = 50 * time.Microsecond
	// keepEach is how much time there is for upkeep of each consumer: it is late for many.
	keepEach = time.Millisecond
)

// NewPoller makes a Poller without consumers.
func NewPoller(cfg PollerConfig) *Poller {
	if cfg.Cap == 0 {
		cfg.Cap = DefaultCap
	}
	cfg.CapMost = max(cfg.CapMost, cfg.Cap)
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
	if c.cfg.Lot != nil {
		m.stop, err = c.cfg.Lot.Subscribe(func() { p.fire(m) })
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
	if m.armed && c.enter() {
		c.unannounce(m.key)
		c.leave()
	}
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
			if m.armed && m.c.enter() {
				m.c.unannounce(m.key)
				m.c.leave()
			}
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
	if p.next == len(p.due) && !p.gather(true) {
		if err := p.await(ctx); err != nil {
			return nil, err
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

// gather looks at the warm and the fired. It reports whether anybody is due. busy: those
// who have had nothing for long are armed, though others may be due.
func (p *Poller) gather(busy bool) bool {
	p.due, p.next = p.due[:0], 0
	p.mu.Lock()
	for _, m := range p.fired {
		m.fired = false
		if m.armed {
			m.armed, m.cold = false, 0
			p.warm = append(p.warm, m)
		}
	}
	p.fired = p.fired[:0]
	p.mu.Unlock()
	warm := p.warm
	p.warm = p.warm[:0]
	for _, m := range warm {
		switch {
		case m.c.due():
			m.cold = 0
			p.due = append(p.due, m)
		case busy && m.cold >= coldAfter && p.arm(m):
		default:
			m.cold++
			p.warm = append(p.warm, m)
		}
	}
	return len(p.due) > 0
}

// arm announces that the consumer is waited for, and looks again (B2). False: it has
// something, and is not armed.
func (p *Poller) arm(m *member) bool {
	c := m.c
	if !c.enter() {
		return false
	}
	defer c.leave()
	p.keep(m)
	if c.due() || m.errand != nil {
		return false
	}
	if m.stop != nil {
		c.count(layout.Sleeps, 1)
		m.key = c.sleepWord.Or(layout.BellParked) | layout.BellParked
		killpoint.At(killpoint.Announced)
		if c.due() {
			c.unannounce(m.key)
			return false
		}
	}
	m.armed = true
	return true
}

// keep does what the consumer's own calls do before they sleep. Its error is told with
// the next hand-out.
func (p *Poller) keep(m *member) {
	c := m.c
	if !c.leased {
		c.handle(c.auto)
	}
	err := c.lookAround()
	if err == nil {
		err = c.checkOutside()
	}
	if m.stalled != c.stalled {
		if m.stalled = c.stalled; m.stalled {
			p.stalled++
		} else {
			p.stalled--
		}
	}
	if err != nil && c.halt.Load() == 0 {
		m.errand = err
	}
}

// fire is called by whoever pokes.
func (p *Poller) fire(m *member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !m.fired {
		m.fired = true
		p.fired = append(p.fired, m)
	}
	select {
	case p.up <- struct{}{}:
	default:
	}
}

// await waits until somebody is due.
func (p *Poller) await(ctx context.Context) error {
	if p.spin(ctx) {
		return nil
	}
	var timer *time.Timer
	for begin := time.Now(); ; {
		p.armAll()
		if len(p.due) > 0 {
			return nil
		}
		if timer == nil {
			timer = time.NewTimer(p.limit(time.Since(begin)))
			defer timer.Stop()
		} else {
			timer.Reset(p.limit(time.Since(begin)))
		}
		select {
		case <-p.up:
			p.gather(false)
		case <-timer.C:
			p.lookAtAll(true)
		case <-ctx.Done():
			if !p.lookAtAll(false) {
				return contextError("poll", ctx)
			}
		case <-p.done:
			return ErrClosed
		}
		p.upkeep()
	}
}

// spin is core.spin for many.
func (p *Poller) spin(ctx context.Context) bool {
	most := p.cfg.Spin
	if most == 0 || len(p.warm) == 0 {
		return false
	}
	budget, probe := most, false
	if most > 0 {
		budget, probe = p.eager.budget(most)
	}
	for begin := time.Now(); ; {
		for range polls / 8 {
			if p.gather(false) {
				if p.eager.learn(true); probe {
					p.eager.resume()
				}
				return true
			}
			spin.Pause()
		}
		if ctx.Err() != nil || p.closed() {
			return false
		}
		if p.upkeep(); len(p.due) > 0 {
			return true
		}
		if most > 0 && time.Since(begin) >= budget {
			p.eager.learn(false)
			return false
		}
	}
}

// armAll arms whoever is warm. Those that have something become due.
func (p *Poller) armAll() {
	warm := p.warm
	p.warm = p.warm[:0]
	for _, m := range warm {
		if !p.arm(m) {
			p.due = append(p.due, m)
		}
	}
}

// limit bounds a sleep when so much time was waited.
func (p *Poller) limit(waited time.Duration) time.Duration {
	limit := min(max(p.cfg.Cap, waited/sleepShare), p.cfg.CapMost)
	if p.blinded > 0 {
		limit = min(max(blindMin, waited/sleepShare), blindMost)
	}
	if p.stalled > 0 {
		limit = min(limit, stalledCap)
	}
	return limit
}

// lookAtAll finds what nobody woke us up for: where nobody can, and where a waker was
// killed before it did (late: that is the only reason).
func (p *Poller) lookAtAll(late bool) bool {
	for _, m := range p.order {
		if m.armed && (m.c.due() || m.c.stalled) {
			m.armed = false
			p.warm = append(p.warm, m)
			if late && m.c.due() && m.stop != nil {
				m.c.countRescue(m.key)
			}
		}
	}
	return p.gather(false)
}

// upkeep looks after as many consumers as it is time for: after all of them every
// CapMost, or every millisecond times their number.
func (p *Poller) upkeep() {
	n := len(p.order)
	if n == 0 {
		return
	}
	round := max(p.cfg.CapMost, time.Duration(n)*keepEach)
	share := int(int64(time.Since(p.kept)) * int64(n) / int64(round))
	if share == 0 {
		return
	}
	p.kept = time.Now()
	for range min(share, n) {
		p.at++
		m := p.order[p.at%n]
		if !m.armed || !m.c.enter() {
			continue // it is looked at anyhow
		}
		p.keep(m)
		if m.c.due() || m.errand != nil {
			m.armed = false
			p.due = append(p.due, m)
		}
		m.c.leave()
	}
}
