package ring

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
)

// Of several messages that are out, one in the middle is released: it goes, with those before it, and not one
// byte or slot of those behind it.
func TestReleaseOfAnOlderMessage(t *testing.T) {
	for name, test := range map[string]struct {
		kind  layout.Kind
		lines bool // records have cache lines of their own
		size  int
		end   uint64 // of the second
	}{
		"close":      {layout.SPSC, false, 12, 2 * 24},
		"in lines":   {layout.SPSC, true, 12, 2 * layout.LineAlign},
		"one slot":   {layout.MPSC, false, 12, 2},
		"many slots": {layout.MPSC, false, 300, 2 * 5},
	} {
		t.Run(name, func(t *testing.T) {
			v, p, c := pair(t, test.kind, 64)
			if test.lines {
				v.Hot.DataBell.Store(v.Hot.DataBell.Load() | layout.BellEach)
				p.heed(v.Hot.DataBell.Load())
			}
			for range 4 {
				require.NoError(t, p.TrySend(make([]byte, test.size)))
			}
			var out [4]Message
			for i := range out {
				var err error
				out[i], err = c.TryNext()
				require.NoError(t, err)
				require.Len(t, out[i].Bytes(), test.size)
			}
			out[1].Release()
			require.Equal(t, test.end, c.acked)
			out[0].Release()
			require.Equal(t, test.end, c.acked)
			out[3].Release()
			require.Equal(t, c.pos, c.acked)
		})
	}
}

// What may be released with an older message of an MPSC ring stands in its descriptor. A peer that has
// written there is found out, and nothing is released that was not read.
func TestDescriptorOfAMessageInUse(t *testing.T) {
	const lap, other = 1, 2
	for name, word := range map[string]layout.Ctl{
		"more slots than were read": layout.PackCtl(lap, 3, 1, layout.Committed),
		"no slots":                  layout.PackCtl(lap, 0, 1, layout.Committed),
		"of another lap":            layout.PackCtl(other, 1, 1, layout.Committed),
		"all gone":                  0,
	} {
		t.Run(name, func(t *testing.T) {
			v, p, c := pair(t, layout.MPSC, 64)
			for range 3 {
				require.NoError(t, p.TrySend(make([]byte, 8)))
			}
			first, err := c.TryNext()
			require.NoError(t, err)
			_, err = c.TryNext()
			require.NoError(t, err)
			v.Descriptors[0].Ctl.Store(word)
			first.Release()
			require.Zero(t, v.Hot.ReadPos.Load())
			_, err = c.TryNext()
			var corrupt *CorruptError
			require.ErrorAs(t, err, &corrupt)
			require.Contains(t, err.Error(), "message in use")
		})
	}
}

// A record that says that it is longer than its slots is believed by nobody: neither by the consumer nor by
// who looks from outside.
func TestRecordLongerThanItsSlots(t *testing.T) {
	for name, meta := range map[string]uint64{
		"batch":   layout.PackMeta(128, 0, layout.FlagBatch),
		"message": layout.PackMeta(128, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			v, p, c := pair(t, layout.MPSC, 64)
			require.NoError(t, p.TrySend(make([]byte, 8)))
			v.Descriptors[0].Meta = meta
			var corrupt *CorruptError
			_, err := LookAtQueue(v, 100)
			require.ErrorAs(t, err, &corrupt)
			require.Contains(t, err.Error(), "record length")
			_, err = c.TryReceive(make([]byte, 256))
			require.ErrorAs(t, err, &corrupt)
			require.Contains(t, err.Error(), "record length")
		})
	}
}
