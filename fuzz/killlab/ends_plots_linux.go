package main

import "github.com/shmring/shmring"

// room is how many producers there may be.
func (t *staged) room() int {
	if t.kind == shmring.KindMPSC {
		return 3
	}
	return 1
}

// walk does anything.
func (t *staged) walk() bool {
	for range 40 + t.rng.IntN(80) {
		if !t.step() {
			return false
		}
	}
	return true
}

func (t *staged) step() bool {
	var p *player
	if len(t.authors) > 0 {
		p = t.authors[t.rng.IntN(len(t.authors))]
	}
	switch n := t.rng.IntN(24); {
	case p == nil || n < 3 && len(t.authors) < t.room():
		_, ok := t.arrives(t.rng.IntN(4) == 0)
		return ok && t.recovers()
	case n < 7:
		return t.calls()
	case n < 10:
		for range 2 {
			if !t.calls() {
				return false
			}
		}
		return t.calls()
	case n < 12:
		return t.changes()
	case n < 15:
		return t.goes(p)
	case p.waits:
		return t.dies(p)
	case n < 16 && !p.claims:
		p.waits = true // until there is room
		p.tell(orderSendOrWait)
		return true
	case p.claims:
		p.claims = false
		return t.order(p, orderCommit)
	case n < 18:
		p.claims = true
		return t.order(p, orderHold)
	}
	return t.sends(p, 1+t.rng.IntN(8))
}

// loop has more streams in one place than a ring tells apart, without a consumer.
func (t *staged) loop() bool {
	if t.rng.IntN(2) == 0 && !(t.calls() && t.changes()) {
		return false
	}
	for range 8 + t.rng.IntN(30) {
		p, ok := t.arrives(t.rng.IntN(8) == 0)
		if !ok || !t.sends(p, t.rng.IntN(3)) || !t.goes(p) {
			return false
		}
		if t.rng.IntN(6) == 0 && !t.recovers() {
			return false
		}
	}
	return t.consumersChange()
}

// consumersChange lets several consumers come, each for a few calls.
func (t *staged) consumersChange() bool {
	for range t.rng.IntN(4) {
		for range 1 + t.rng.IntN(6) {
			if !t.calls() {
				return false
			}
		}
		if !t.changes() {
			return false
		}
	}
	return true
}

// batches are as many producers as are expected, and then io.EOF, before the next come.
func (t *staged) batches() bool {
	for range 3 {
		left := t.number >> toldExpects
		for left > 0 {
			p, ok := t.arrives(false)
			if !ok || !t.sends(p, t.rng.IntN(4)) {
				return false
			}
			if left--; len(t.authors) < t.room() && t.rng.IntN(2) == 0 {
				continue
			}
			for len(t.authors) > 0 {
				if !t.goes(t.authors[0]) {
					return false
				}
			}
			if !t.consumersChange() {
				return false
			}
		}
		if !t.quiet() {
			return false
		}
	}
	return true
}

// alone are producers whose places nobody takes, and a consumer that waits, or comes later.
func (t *staged) alone() bool {
	for range 3 {
		waits := t.rng.IntN(3) != 0
		if waits && !t.quiet() {
			return false
		}
		p, ok := t.arrives(false)
		if !ok {
			return false
		}
		n := t.rng.IntN(4)
		if !t.sends(p, n) {
			return false
		}
		if t.kind == shmring.KindMPSC && t.rng.IntN(2) == 0 && !t.order(p, orderHold) {
			return false
		}
		if !waits {
			if !t.changes() || !t.goes(p) || !t.quiet() {
				return false
			}
			continue
		}
		t.c.tell(orderWait) // it may sleep by now, or never
		if !t.goes(p) {
			return false
		}
		// Whoever waits is told, however long nobody else does anything.
		if !t.satisfied(t.goesOn) {
			return false
		}
		t.c.waits = true
	}
	return true
}

// goesOn makes the consumer wait for more when it has got something.
func (t *staged) goesOn() bool {
	back := t.c.j.Get(phase) >= running+t.c.n
	t.hears(t.c.child)
	if back && len(t.due()) > 0 {
		t.c.tell(orderWait)
	}
	return !t.c.isDead() || t.done(t.c) // which says why
}

// forgotten are handles that nobody remembers, in processes that live.
func (t *staged) forgotten() bool {
	p, ok := t.arrives(false)
	if !ok || !t.sends(p, 3) || !t.calls() || !t.order(p, orderForget) {
		return false
	}
	t.sum.forgotten++
	p.gone = true
	for range 3 { // whoever is told now that it died is told wrong
		if !t.calls() || !t.order(t.c, orderCheck) {
			return false
		}
	}
	if t.rng.IntN(2) == 0 {
		t.sum.forgotten++
		if !t.order(t.c, orderForget) || !t.refused() {
			return false
		}
		t.c.gone = true
	}
	return t.dies(p)
}
