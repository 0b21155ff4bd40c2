package fuzz

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
)

var (
	scripts = flag.Int("scripts", 3000, "random scripts that each TestXxxRandom runs")
	seed    = flag.Uint64("seed", 0, "first of the seeds of TestXxxRandom")
)

// script is a row of choices taken from bytes. When they run out every choice is 0.
type script struct{ rest []byte }

func (s *script) more() bool { return len(s.rest) > 0 }

func (s *script) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

// below is a choice among n, which is below 2^16.
func (s *script) below(n int) int {
	c := int(s.byte())
	if n > 256 {
		c = c<<8 | int(s.byte())
	}
	return c % n
}

func (s *script) coin() bool { return s.byte()&1 == 1 }

// pick is one of several values.
func pick[T any](s *script, from ...T) T { return from[s.below(len(from))] }

// random runs scripts of random bytes and says how to run the first that fails
// again.
func random(t *testing.T, most int, run func(t *testing.T, data []byte)) {
	n := *scripts
	if testing.Short() {
		n /= 10
	}
	for i := *seed; i < *seed+uint64(n); i++ {
		ok := t.Run("", func(t *testing.T) { run(t, randomBytes(i, most)) })
		if !ok {
			t.Fatalf("again: go test ./fuzz -run %s -scripts 1 -seed %d", t.Name(), i)
		}
	}
}

func randomBytes(seed uint64, most int) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, 1+r.IntN(most))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// seeds are random bytes in several lengths.
func seeds(f *testing.F, n, most int) {
	for i := range n {
		f.Add(randomBytes(uint64(i)+1<<32, most))
	}
}

// history tells a reader of a failure what was done before it.
type history struct{ lines []string }

func (h *history) note(format string, args ...any) {
	h.lines = append(h.lines, fmt.Sprintf(format, args...))
}

func (h *history) String() (s string) {
	from := max(0, len(h.lines)-60)
	for i, l := range h.lines[from:] {
		s += fmt.Sprintf("%4d %s\n", from+i, l)
	}
	return s
}
