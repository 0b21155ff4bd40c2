//go:build killpoint

package ring_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/internal/killpoint"
	"github.com/shmring/shmring/layout"
)

// A consumer that looks while a fate is being stored, after any of the stores, is told of it
// all the same, and once. (NEWS_BEFORE_FATE of fuzz/models: who counts the news first lets it
// look for nothing, and never again.)
func TestLookMidwayThroughAFate(t *testing.T) {
	t.Cleanup(func() { killpoint.Hook = nil })
	ends := map[string]func(r *rig, p *producer){
		"EOF":      func(_ *rig, p *producer) { require.NoError(t, p.CloseSend()) },
		"failed 1": func(_ *rig, p *producer) { require.NoError(t, p.FailSend()) },
		"died 1":   func(r *rig, p *producer) { p.die(); r.producer() }, // its successor finds that
	}
	for _, kind := range []layout.Kind{layout.SPSC, layout.MPSC} {
		eachMemory(t, kind, func(t *testing.T, newRig func(layout.Config) *rig) {
			for want, end := range ends {
				for _, at := range []killpoint.Point{killpoint.FatePosStored, killpoint.FateStored, killpoint.NewsStored} {
					r := newRig(layout.Config{Slots: 8, SlotSize: 64})
					p, c := r.producer(), r.consumer()
					require.NoError(t, p.TrySend([]byte("a")))
					require.Equal(t, []string{"a"}, tell(t, c))
					var midway []string
					looked := false
					killpoint.Hook = func(here killpoint.Point) {
						if here == at && !looked {
							looked = true
							midway = tell(t, c)
						}
					}
					end(r, p)
					killpoint.Hook = nil
					require.True(t, looked, "nobody came to %v", at)
					all := []string{want}
					if kind == layout.MPSC && want == "failed 1" {
						all = append(all, "EOF") // nobody is left
					}
					require.Equal(t, all, append(midway, tell(t, c)...), "looked at %v", at)
				}
			}
		})
	}
}
