package ring

import (
	"context"
	"time"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

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
		case busy && m.cold >= coldAfter:
			if !p.arm(m) {
				m.cold = 0
				p.due = append(p.due, m)
			}
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

// disarm takes the announcement of a member that leaves back.
func (m *member) disarm() {
	if m.armed && m.c.enter() {
		m.c.unannounce(m.key)
		m.c.leave()
	}
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
			if p.gather(false) {
				return nil // upkeep can wait, what arrived cannot
			}
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
	most := p.cfg.SpinFor
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
	limit := piece(waited, p.cfg.FirstSleep, p.cfg.MaxSleep)
	if p.blinded > 0 {
		limit = piece(waited, blindMin, blindMost)
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
// MaxSleep, or every millisecond times their number.
func (p *Poller) upkeep() {
	n := len(p.order)
	if n == 0 {
		return
	}
	round := max(p.cfg.MaxSleep, time.Duration(n)*keepEach)
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
