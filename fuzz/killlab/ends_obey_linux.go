package main

import (
	"context"
	"fmt"
)

func init() {
	roles["author"] = obeyAuthor
	roles["audience"] = obeyAudience
}

// What the lab orders the children of mode ends to do, one after the other: the word where.
const (
	orderAttach = 1 + iota
	orderAttachToLeave
	orderSend // one message, if there is room
	orderSendOrWait
	orderHold // a claim
	orderCommit
	orderEnd
	orderFail
	orderClose
	orderForget
	orderNext // and hold it
	orderRelease
	orderReceive
	orderDrain
	orderCheck
	orderWait // for anything
)

// obey carries out orders. Its phase is running plus the orders that were carried out. An
// order that waits ends when the next comes.
func obey(ctx context.Context, j *journal, do func(ctx context.Context, order uint64) error) error {
	j.Set(phase, running)
	for n := uint64(1); ; n++ {
		for !j.Await(command, n, 1<<40) {
		}
		order := j.Get(where)
		during := ctx
		if order == orderWait || order == orderSendOrWait {
			during = j.until(ctx, n+1)
		}
		if err := do(during, order); cancelled(err) != nil {
			return fmt.Errorf("order %d: %w", order, err)
		}
		j.Set(phase, running+n)
	}
}

func obeyAuthor(ctx context.Context, a args, j *journal) error {
	s := newAuthor(a, j)
	keep := false
	return obey(ctx, j, func(ctx context.Context, order uint64) error {
		switch order {
		case orderAttach, orderAttachToLeave:
			keep = order == orderAttachToLeave
			return s.attach(ctx, keep)
		case orderSend:
			return s.try()
		case orderSendOrWait:
			return s.send(ctx)
		case orderHold:
			return s.hold()
		case orderCommit:
			return s.commit()
		case orderEnd:
			return s.end(0, false)
		case orderFail:
			return s.end(fateFailed, false)
		case orderClose:
			return s.close(keep)
		case orderForget:
			s.p, s.claim = nil, nil
			litter(6)
			return nil
		}
		return fmt.Errorf("no order of a producer's")
	})
}

func obeyAudience(ctx context.Context, a args, j *journal) error {
	h := newAudience(a, j)
	return obey(ctx, j, func(ctx context.Context, order uint64) error {
		switch order {
		case orderAttach:
			return h.attach(ctx)
		case orderNext:
			return h.next(noWait, 0)
		case orderRelease:
			h.release()
			return nil
		case orderReceive:
			return h.receive(noWait, 0)
		case orderDrain:
			return h.drain(noWait, 0, 1+h.rng.IntN(20))
		case orderCheck:
			return h.check(0)
		case orderWait:
			if h.poller != nil {
				return h.poll(ctx)
			}
			return h.some(ctx, 0)
		case orderClose:
			return h.close()
		case orderForget:
			h.cs, h.held, h.poller = nil, nil, nil
			litter(6)
			return nil
		}
		return fmt.Errorf("no order of a consumer's")
	})
}
