package ring

import (
	"github.com/shmring/shmring/internal/spin"
	"github.com/shmring/shmring/layout"
)

// backoff notices a consumer that has caught up with its producer and takes each message
// from under the producer's hands. For every message, and for every look that came too
// early, the line changes hands, and the lines of the payload with it. It is cheaper to
// leave the ring alone for a moment and let some messages gather. Whether some do decides
// if the consumer backs off again, so replies, which come one at a time, are not kept
// waiting.
type backoff struct {
	dryAt  uint64 // messages taken when the ring ran dry last
	score  int    // how often in a row the next message came at once; below 0: no backoff until then
	last   bool   // it backed off before the messages behind dryAt
	pauses int    // how long the next time: twice as long as the last time, while many gather

	slept uint64 // messages taken when it slept last
	few   int    // how often in a row those since the sleep before were few

	each     bool   // the bell word asks for records with lines of their own (SPSC)
	turnedAt uint64 // messages taken when the ring ran dry last, by any call
	odd      int    // how often in a row it should have been otherwise
}

const (
	backoffAfter = 32       // so many in a row are a stream that is caught up with
	backoffFew   = 4        // a backoff in which fewer messages gathered was useless for this stream
	backoffAgain = -1 << 12 // then it is not tried again for so many
	backoffMany  = 32       // one in which so many did may be longer
	backoffLooks = 4        // a message that is there at one of so many looks came at once
	backoffFor   = 128      // PAUSEs; two or three microseconds
	backoffMost  = 512

	promiseAfter = 1024 // who takes so many between two sleeps had better fence for its producer
	promiseMost  = 4    // and who takes fewer so often in a row not: a fence takes as long as a hundred barriers

	eachMost  = 2 // who finds the ring dry after so many messages waits for each
	eachAfter = 8 // so often in a row
)

// ranDry notes that the ring ran dry after so many messages. It reports whether to leave
// the ring alone now.
func (b *backoff) ranDry(messages uint64) (now bool) {
	switch gathered := messages - b.dryAt; {
	case !b.last:
		b.pauses = backoffFor
	case gathered < backoffFew:
		b.score = backoffAgain
	case gathered >= backoffMany:
		b.pauses = min(2*b.pauses, backoffMost)
	}
	b.dryAt = messages
	b.last = b.score >= backoffAfter
	return b.last
}

// turned notes that the ring ran dry after so many messages, and tells whether it is time to ask for
// the opposite of what the bell word asks for.
func (b *backoff) turned(messages uint64) bool {
	since := messages - b.turnedAt
	if since == 0 {
		return false // still dry: a look by TryReceive, or one after a wait that brought none
	}
	b.turnedAt = messages
	if each := since <= eachMost; each == b.each {
		b.odd = 0
		return false
	}
	b.odd++
	return b.odd > eachAfter
}

// came notes whether the message that followed came at once.
func (b *backoff) came(atOnce bool) {
	if atOnce {
		b.score++
	} else {
		b.score = min(b.score, 0)
	}
}

// awaitAtOnce waits for a record that comes at once.
func (c *Consumer) awaitAtOnce() bool {
	c.turn()
	if c.mayFence && !c.fences && c.messagesTaken()-c.backoff.slept >= promiseAfter {
		c.promiseFences()
	}
	if c.backoff.ranDry(c.messagesTaken()) {
		for range c.backoff.pauses {
			spin.Pause()
		}
	}
	for range backoffLooks {
		if c.isReady() {
			c.backoff.came(true)
			return true
		}
		spin.Pause()
	}
	c.backoff.came(false)
	return false
}

// openPromise promises to fence, if that can be, and takes back what a predecessor has promised if not.
func (c *Consumer) openPromise() {
	if c.cfg.Barrier == nil || c.cfg.Barrier.Fence() != nil {
		c.withdrawFences()
		return
	}
	c.mayFence, c.weigh = true, c.weighPromise
	c.promiseFences()
}

// weighPromise looks before a sleep whether the promise to fence pays: each sleep takes a fence then,
// and each message spares a barrier.
func (c *Consumer) weighPromise() {
	taken := c.messagesTaken()
	many := taken-c.backoff.slept >= promiseAfter
	c.backoff.slept = taken
	switch {
	case many:
		if c.backoff.few = 0; c.mayFence && !c.fences {
			c.promiseFences()
		}
	case c.fences:
		if c.backoff.few++; c.backoff.few >= promiseMost {
			c.backoff.few = 0
			c.withdrawFences()
		}
	}
}

// turn asks for records with lines of their own, or no more, once it is plain what is better.
func (c *Consumer) turn() {
	if !c.mpsc && c.backoff.turned(c.messagesTaken()) {
		c.askForEach(!c.backoff.each)
	}
}

// askForEach says in the bell word whether the consumer waits for each message. Then records
// get cache lines of their own: the producer writes none of them into the line that the
// consumer polls, and replies stay quick. Nothing depends on it, so it is no kill point.
func (c *Consumer) askForEach(each bool) {
	c.backoff.each, c.backoff.odd = each, 0
	if each {
		c.sleepWord.Or(layout.BellEach)
	} else {
		c.sleepWord.And(^layout.BellEach)
	}
}
