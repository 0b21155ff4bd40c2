package main

import "github.com/shmring/shmring"

// single tells whether each stream that is ended is an io.EOF.
func (h *history) single() bool { return !h.mpsc && h.expects == 0 }

// isSaid tells whether a fate is the result of a call.
func (h *history) isSaid(f shmring.Fate) bool {
	return f >= shmring.FateFailed || f == shmring.FateEnded && h.single()
}

// count notes streams that were told and were not before. Of several that were told
// together it is not certain how each ended.
func (n *endings) count(f shmring.Fate, streams int, together bool) {
	if f == shmring.FateLeft {
		return
	}
	n.over[1] += streams
	if f != shmring.FateDied || together {
		n.ended[1] += streams
	}
	if together {
		return
	}
	n.over[0] += streams
	if f != shmring.FateDied {
		n.ended[0] += streams
	}
}

// atEnd is io.EOF. said is what the same call told last.
func (g *judge) atEnd(said *tell) {
	g.v.ends++
	n := &g.ends
	if g.single() {
		if said == nil || said.e.fate() != shmring.FateEnded {
			g.wrong("io.EOF without a stream that has ended")
			return
		}
		g.open = append(g.open, said)
		return
	}
	if said != nil {
		if said.e.fate() >= shmring.FateFailed {
			g.wrong("told %v of stream %d of place %d, and the call said io.EOF", said.e.fate(), said.e.source.life,
				said.e.source.lane)
		}
		said.said = false
		g.sure(said, said.e.at)
	}
	over, ended := n.over[1], n.ended[1]
	if n.tell != nil && g.mayAgain(n.tell) {
		over, ended = over+n.before[0], ended+n.before[1]
	}
	if g.expects > 0 && over < g.expects || g.expects == 0 && ended == 0 {
		g.wrong("io.EOF when %d streams are over and %d of them were ended, expected are %d", over, ended, g.expects)
	}
	n.before = [2]int{over, ended}
	n.over, n.ended = [2]int{}, [2]int{}
	n.tell = &tell{k: g.k, pos: g.last.Record + 1, said: true, unsure: true}
	g.open = append(g.open, n.tell)
}

// endIsDue tells whether io.EOF must come when nothing is left.
func (g *judge) endIsDue() bool {
	for _, s := range g.streams {
		if !s.isOver() {
			return false
		}
	}
	if g.expects > 0 {
		return g.ends.over[0] >= g.expects
	}
	return g.mpsc && g.ends.ended[0] > 0
}
