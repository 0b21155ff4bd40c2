package ring

import (
	"cmp"
	"context"
	"time"

	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// gather looks at the polled and the signalled consumers. It reports whether any is due.
// busy: those that have had nothing for long are armed, though others may be due.
func (p *Poller) gather(busy bool) bool {
	p.due, p.next = p.due[:0], 0
	if p.changed.Load() {
		p.settle()
	}
	polled := p.polled
	p.polled = p.polled[:0]
	for _, m := range polled {
		switch {
		case m.left.Load():
		case m.c.hasNews():
			m.idleRounds = 0
			p.due = append(p.due, m)
		case busy && m.idleRounds >= armAfter:
			if !p.arm(m) {
				m.idleRounds = 0
				p.due = append(p.due, m)
			}
		default:
			m.idleRounds++
			p.polled = append(p.polled, m)
		}
	}
	return len(p.due) > 0
}

// settle takes in what others have told since the last time.
func (p *Poller) settle() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Store(false)
	for _, m := range p.signalled {
		m.signalled = false
		if m.armed {
			m.armed, m.idleRounds = false, 0
			p.polled = append(p.polled, m)
		}
	}
	clear(p.signalled)
	p.signalled = p.signalled[:0]
	p.order = append(p.order, p.arrived...)
	p.polled = append(p.polled, p.arrived...)
	clear(p.arrived)
	p.arrived = p.arrived[:0]
	staying := p.order[:0]
	for _, m := range p.order {
		switch {
		case !m.left.Load():
			staying = append(staying, m)
		case m.stalled:
			p.stalled--
		}
	}
	clear(p.order[len(staying):])
	p.order = staying
}

// arm announces that the consumer is waited for, and looks again (B2). False: it has
// something, and is not armed.
func (p *Poller) arm(m *entry) bool {
	c := m.c
	if m.left.Load() {
		return true // somebody else's by now, and to be forgotten like those that are armed
	}
	if !c.enter() {
		return false
	}
	defer c.leave()
	p.maintainEntry(m)
	if m.left.Load() {
		return true // because of what it has called
	}
	if c.hasNews() || m.pendingErr != nil {
		return false
	}
	if m.stop != nil {
		c.count(layout.Sleeps, 1)
		m.key = c.announce(layout.BellParked)
		if c.lookAgain(c.hasNews) { // B2
			c.withdraw(m.key)
			return false
		}
	}
	m.armed = true
	return true
}

// disarm withdraws the announcement of a consumer that leaves. It does without the
// consumer's gate: whoever has the consumer may be inside, in a Try call, which has no
// business with the word.
func (m *entry) disarm() {
	if m.armed && !m.c.Closed() {
		_ = m.c.Guard(func() { m.c.withdraw(m.key) }) // its next call tells of a fault
	}
	m.armed = false
}

// maintainEntry does what the consumer's own calls do before they sleep. Its error is
// returned with the next hand-out.
func (p *Poller) maintainEntry(m *entry) {
	c := m.c
	err := c.checkOutside() // before any byte is touched, which may be there no more
	if !c.Closed() {
		if c.ackImplicit(); c.flushDue() {
			c.flushReadPos()
		}
		c.outer = &p.looking
		defer func() { c.outer = nil }()
		err = cmp.Or(c.lookAfter(), err)
	}
	if m.stalled != c.stalled {
		if m.stalled = c.stalled; m.stalled {
			p.stalled++
		} else {
			p.stalled--
		}
	}
	if err != nil && !c.Closed() {
		m.pendingErr = err
	}
}

// signal notes that somebody has woken those who are parked for this consumer.
func (p *Poller) signal(m *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.left.Load() {
		return
	}
	if !m.signalled {
		m.signalled = true
		p.signalled = append(p.signalled, m)
	}
	p.wake()
}

// wake makes Wait look at what has changed. It is called under mu.
func (p *Poller) wake() {
	p.changed.Store(true)
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
		cause := p.sleep(ctx, timer)
		if p.closed() {
			return ErrClosed // the consumers are others' again
		}
		switch cause {
		case sleepSignalled:
			if p.gather(false) {
				return nil // maintaining can wait, what arrived cannot
			}
		case sleepOver:
			p.lookAtAll(true)
		case sleepCancelled:
			if !p.lookAtAll(false) {
				return contextError("poll", ctx)
			}
		}
		p.maintain()
	}
}

// sleepCause is what ended a sleep.
type sleepCause int

const (
	sleepSignalled sleepCause = iota
	sleepOver
	sleepCancelled
	sleepClosed
)

// sleep sleeps. Meanwhile others may do to the consumers what they like.
func (p *Poller) sleep(ctx context.Context, timer *time.Timer) sleepCause {
	p.looking.Unlock()
	defer p.looking.Lock()
	select {
	case <-p.up:
		return sleepSignalled
	case <-timer.C:
		return sleepOver
	case <-ctx.Done():
		return sleepCancelled
	case <-p.done:
		return sleepClosed
	}
}

// spin is wait.spin for many.
func (p *Poller) spin(ctx context.Context) bool {
	most := p.cfg.SpinFor
	if most == 0 || len(p.polled) == 0 {
		return false
	}
	budget, probe := most, false
	if most > 0 {
		budget, probe = p.adaptive.budget(most)
	}
	for begin := time.Now(); ; {
		for range looks / 8 {
			if p.gather(false) {
				if p.adaptive.learn(true); probe {
					p.adaptive.resume()
				}
				return true
			}
			spin.Pause()
		}
		p.looking.Unlock() // for whoever is waiting for it
		p.looking.Lock()
		if ctx.Err() != nil || p.closed() {
			return false
		}
		if p.maintain(); len(p.due) > 0 {
			return true
		}
		if most > 0 && time.Since(begin) >= budget {
			p.adaptive.learn(false)
			return false
		}
	}
}

func (p *Poller) closed() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// armAll arms whoever is polled. Those that have something become due.
func (p *Poller) armAll() {
	polled := p.polled
	p.polled = p.polled[:0]
	for _, m := range polled {
		if !p.arm(m) {
			p.due = append(p.due, m)
		}
	}
}

// limit bounds a sleep when so much time was waited.
func (p *Poller) limit(waited time.Duration) time.Duration {
	limit := sleepLimit(waited, p.cfg.FirstSleep, p.cfg.MaxSleep)
	p.mu.Lock()
	unsubscribed := p.unsubscribed
	p.mu.Unlock()
	if unsubscribed > 0 {
		limit = sleepLimit(waited, unsubscribedMin, unsubscribedMost)
	}
	if p.stalled > 0 {
		limit = min(limit, stalledSleep)
	}
	return limit
}

// lookAtAll finds what nobody woke us up for: where nobody can, and where a waker was
// killed before it did (late: that is the only reason).
func (p *Poller) lookAtAll(late bool) bool {
	for _, m := range p.order {
		if m.armed && (m.c.hasNews() || m.c.stalled) {
			m.armed = false
			p.polled = append(p.polled, m)
			if late && m.c.hasNews() && m.stop != nil {
				m.c.countTimeoutWakeup(m.key)
			}
		}
	}
	return p.gather(false)
}

// maintain looks after as many consumers as it is time for: after all of them every
// MaxSleep, or every millisecond times their number.
func (p *Poller) maintain() {
	n := len(p.order)
	if n == 0 {
		return
	}
	round := max(p.cfg.MaxSleep, time.Duration(n)*maintainEach)
	share := int(int64(time.Since(p.maintained)) * int64(n) / int64(round))
	if share == 0 {
		return
	}
	p.maintained = time.Now()
	for range min(share, n) {
		p.at++
		m := p.order[p.at%n]
		if !m.armed || !m.c.enter() {
			continue // it is looked at anyhow
		}
		p.maintainEntry(m)
		if m.c.hasNews() || m.pendingErr != nil {
			m.armed = false
			p.due = append(p.due, m)
		}
		m.c.leave()
	}
}
