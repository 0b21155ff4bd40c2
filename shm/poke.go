package shm

import "io/fs"

// Poke lets everyone know who has asked for it by [Segment.OnPoke], on any handle of
// the same file in any process, by reading one byte of the file. It never blocks. On a
// closed handle it does nothing.
func (s *Segment) Poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.back.poke()
	}
}

// OnPoke calls f after every [Segment.Poke] of the same file from now on, once for
// several if they come quickly, and perhaps for nothing, until stop. f is called by a
// goroutine that others depend on: it must not block, nor call s. The error tells what
// the system lacks, see package internal/watch; fs.ErrClosed after Close, before which
// stop should be called.
func (s *Segment) OnPoke(f func()) (stop func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.fail("watch", fs.ErrClosed)
	}
	if stop, err = s.back.onPoke(f); err != nil {
		return nil, s.fail("watch", err)
	}
	return stop, nil
}
