package shmnet

import "testing"

// SocketBells makes connections of this process as they are with another user.
func SocketBells(t *testing.T) {
	eventBells = false
	t.Cleanup(func() { eventBells = true })
}

// Watched is how many connections the watcher knows, and whether it runs.
func Watched() (n int, runs bool) {
	watching.mu.Lock()
	defer watching.mu.Unlock()
	return len(watching.conns), watching.file != nil
}

// FindsNothing has a reader look in vain, then calls meanwhile, and returns what the wait returns that
// the reader begins then.
func (c *Conn) FindsNothing(meanwhile func()) error {
	r := &c.in
	r.mu.Lock()
	defer r.unlock()
	if r.next() {
		panic("there is something")
	}
	meanwhile()
	return r.wait(false)
}

// FailWrites has the ring that is written find that its peer is no correct one.
func (c *Conn) FailWrites(err error) { c.out.ring.Fail(err) }

// Sleeps is how often calls of the connection have announced that they sleep.
func (c *Conn) Sleeps() uint64 {
	r, w := c.in.ring.Stats(), c.out.ring.Stats()
	return r.Sleeps + w.Sleeps
}

// Counters are the descriptors of the event counters by which a side of the connection sleeps, and by which the other
// one does.
func (c *Conn) Counters() (own, other int) {
	_ = c.in.bell.raw.Control(func(fd uintptr) { own = int(fd) })
	return own, c.in.bell.other.fd
}

// ForgetCounter makes a counter of a descriptor, and forgets it.
func ForgetCounter(fd int) { newCounter(fd) }

// CloseCounter makes a counter of a descriptor, and closes it twice.
func CloseCounter(fd int) {
	c := newCounter(fd)
	c.close()
	c.close()
}
