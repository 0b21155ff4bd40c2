package main

import (
	"fmt"

	"github.com/shmring/shmring/fuzz/histories/spec"
)

// history makes one of what the journals of the members say. The error is something that no
// order of calls explains.
func (h *cast) history() (*spec.History, error) {
	to := &spec.History{Geometry: h.members[0].Geometry}
	for _, m := range h.members {
		to.AtMostOnce[m.Client] = m.AtMostOnce
		last := int64(0)
		first := len(to.Calls)
		for _, e := range m.j.log[:m.j.Get(logged)] {
			last = e.at
			if e.flags&isTorn != 0 {
				return nil, fmt.Errorf("client %d got message %d, %d bytes, that is not what was sent",
					m.Client, e.id, e.size)
			}
			if e.what == strange {
				return nil, fmt.Errorf("client %d got an error that cannot be: %s", m.Client, m.Stderr())
			}
			if e.what == began {
				to.Calls = append(to.Calls, e.call(m.Client))
				continue
			}
			c := &to.Calls[len(to.Calls)-1]
			if e.flags&hasMessage != 0 {
				c.Got = append(c.Got, e.got())
			}
			if e.what == ended {
				c.End, c.Answer, c.N = e.at, spec.Answer(e.answer), int(e.number)
			}
		}
		if m.survives() {
			continue
		}
		to.Deaths = append(to.Deaths, spec.Death{Client: m.Client, Last: last, Dead: m.dead})
		if n := len(to.Calls); n > first && to.Calls[n-1].Answer == spec.None {
			to.Calls[n-1].End = m.dead
		}
	}
	return to, nil
}

func (e *event) call(client int) spec.Call {
	c := spec.Call{Client: client, Op: spec.Op(e.op), ID: e.id, Size: int(e.size), Position: e.position, Begin: e.at}
	for _, size := range e.sizes {
		if size > 0 {
			c.Sizes = append(c.Sizes, int(size))
		}
	}
	if c.Op == spec.Release {
		c.Loan = int(e.number)
	} else {
		c.Max = int(e.number)
	}
	return c
}

func (e *event) got() spec.Got {
	return spec.Got{
		ID: e.id, Size: int(e.size), At: e.at, Placed: e.flags&isPlaced != 0,
		Position: e.position, Index: e.index, Redelivered: e.flags&isRedelivered != 0,
	}
}
