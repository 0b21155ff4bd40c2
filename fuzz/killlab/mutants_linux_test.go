package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/fuzz/internal/mutants"
)

func TestMutantTable(t *testing.T) {
	require.NoError(t, mutants.CheckTable("../..", "killlab", program().Names(), 3))
}

// The checker of what consumers handled notices each kind of fault.
func TestChecker(t *testing.T) {
	at := func(record uint64, life uint32, seq uint64, flags uint32) entry {
		return entry{source: source{1, life}, seq: seq, record: record, flags: flags}
	}
	for name, test := range map[string]struct {
		handled     []entry
		tried, sent uint64
		want        func(r *result) uint64
	}{
		"lost at the end": {[]entry{at(0, 0, 0, 0)}, 2, 2, func(r *result) uint64 { return r.Lost }},
		"lost in between": {[]entry{at(0, 0, 0, 0), at(1, 0, 2, 0)}, 3, 3, func(r *result) uint64 { return r.Disordered }},
		"never sent":      {[]entry{at(0, 0, 0, 0), at(1, 0, 1, 0)}, 1, 1, func(r *result) uint64 { return r.Duplicated }},
		"again, unmarked": {[]entry{at(0, 0, 0, 0), at(0, 0, 0, 0)}, 1, 1, func(r *result) uint64 { return r.Duplicated }},
		"again, too often": {[]entry{at(0, 0, 0, 0), at(0, 0, 0, entryRedelivered), at(0, 0, 0, entryRedelivered)}, 1, 1,
			func(r *result) uint64 { return r.Duplicated }},
		"twice":             {[]entry{at(0, 0, 0, 0), at(1, 0, 0, 0)}, 1, 1, func(r *result) uint64 { return r.Duplicated }},
		"torn":              {[]entry{at(0, 0, 0, entryTorn)}, 1, 0, func(r *result) uint64 { return r.Torn }},
		"after a successor": {[]entry{at(0, 1, 0, 0), at(1, 0, 0, 0)}, 1, 0, func(r *result) uint64 { return r.Disordered }},
	} {
		t.Run(name, func(t *testing.T) {
			r := &result{}
			c := newChecker(r, 1)
			for _, e := range test.handled {
				c.handled(e)
			}
			c.life(source{1, 0}, test.tried, test.sent)
			require.EqualValues(t, 1, test.want(r))
			r.conclude()
			require.False(t, r.OK)
		})
	}
	r := &result{}
	c := newChecker(r, 1)
	c.handled(at(0, 0, 0, 0))
	c.consumerDied()
	c.handled(at(0, 0, 0, entryRedelivered))
	c.handled(at(1, 0, 1, 0))
	c.life(source{1, 0}, 3, 2)
	r.conclude()
	require.True(t, r.OK)
	require.EqualValues(t, 1, r.Repeated)
}

func TestUsage(t *testing.T) {
	var said strings.Builder
	require.Equal(t, 2, program().Run(t.Context(), strings.Fields("-mode random -n -1"), io.Discard, &said))
	require.Equal(t, "killlab: -n and -duration must not be negative\n", said.String())
}
