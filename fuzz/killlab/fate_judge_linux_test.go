package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// The judge of fates notices each kind of fault. The stream of process 7 has sent two
// messages and was killed at 100.
func TestFateJudge(t *testing.T) {
	who := source{1, 1}
	died := uint64(shmring.FateDied) << 32
	message := func(seq uint64, flags uint32) entry {
		return entry{source: who, seq: seq, record: 10 + seq, flags: flags}
	}
	told := func(at int64, f shmring.Fate, pos uint64) entry {
		return entry{at: at, source: source{1, 1}, seq: uint64(f)<<32 | 1, record: pos, index: 7, flags: entryTold}
	}
	said := entry{source: source{1, 1}, seq: died | 1, index: returnedError, flags: entryReturned}
	called, back := entry{flags: entryCalled}, entry{flags: entryReturned}
	a, b, fate := message(0, 0), message(1, 0), told(200, shmring.FateDied, 12)
	again := []entry{message(1, entryRedelivered), fate, said, back}
	for name, test := range map[string]struct {
		heard      [][]entry
		wrong, due int
	}{
		"well":                  {[][]entry{{a, b, fate, said, called, back}}, 0, 0},
		"never told":            {[][]entry{{a, b}}, 0, 1},
		"before it was killed":  {[][]entry{{a, b, told(99, shmring.FateDied, 12), said, called, back}}, 1, 0},
		"another fate":          {[][]entry{{a, b, told(200, shmring.FateLeft, 12), back}}, 1, 0},
		"before the last":       {[][]entry{{a, fate, said, b}}, 3, 0},
		"at the wrong place":    {[][]entry{{a, b, told(200, shmring.FateDied, 11), said}}, 1, 0},
		"not said":              {[][]entry{{a, b, fate, back}}, 1, 0},
		"said and not told":     {[][]entry{{a, b, said}}, 1, 1},
		"twice to one":          {[][]entry{{a, b, fate, said, called, back, fate, said}}, 2, 0},
		"twice":                 {[][]entry{{a, b, fate, said, called, back}, {fate, said}}, 1, 0},
		"again, and may be":     {[][]entry{{a, b, fate, said, called}, {fate, said, called, back}}, 0, 0},
		"again behind what was": {[][]entry{{a, b, fate, said, called, back}, again}, 0, 0},
		"not again":             {[][]entry{{a, b, fate, said}, nil}, 0, 1},
		"not behind what was":   {[][]entry{{a, b, fate, said, called, back}, again[:1]}, 0, 1},
		"io.EOF of the dead":    {[][]entry{{a, b, fate, said, called, {index: returnedEOF, flags: entryReturned}}}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := &history{mpsc: true, heard: test.heard, streams: []*stream{{who: who, pid: 7, place: 1, epoch: 1, tried: 2,
				sent: 2, killed: 100, closing: 100}}}
			v := h.judge()
			require.Len(t, v.wrong, test.wrong)
			require.Len(t, v.due, test.due)
			require.Empty(t, append(v.duplicated, v.disordered...))
		})
	}
}

// With at most once delivery the next consumer may pass over what the last was handed, and be told again of a fate
// among that: as far as a consumer's position may be behind.
func TestFateJudgeAtMostOnce(t *testing.T) {
	first, second := source{1, 1}, source{1, 2}
	fate := entry{at: 200, source: first, seq: uint64(shmring.FateEnded)<<32 | 1, record: 12, index: 7, flags: entryTold}
	back := entry{flags: entryReturned}
	for mpsc, behind := range map[bool]uint64{true: 64, false: 4096} {
		for over, wrong := range map[uint64]int{12 + behind - 1: 0, 12 + behind: 1} {
			h := &history{mpsc: mpsc, lossy: true, expects: 2, heard: [][]entry{
				{{source: first, record: 10}, fate, back, {source: second, record: over}},
				{fate, back},
			}, streams: []*stream{
				{who: first, pid: 7, place: 1, epoch: 1, tried: 1, sent: 1, ending: true,
					ended: true, fate: shmring.FateEnded, closing: 100},
				{who: second, pid: 8, place: 1, epoch: 2, tried: 1, sent: 1},
			}}
			require.Len(t, h.judge().wrong, wrong, "%v, %d behind", mpsc, over-12)
		}
	}
}
