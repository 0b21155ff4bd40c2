package spec

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// Records in line: positions count bytes, a word is kept free behind the newest, what a claim does not
// use is given back, and an eighth of the area gathers.
func TestInLine(t *testing.T) {
	sized := func(from, to int64, id uint8, size int, a Answer) Call {
		m := send(p, from, to, id, 1, a)
		m.Size = size
		return m
	}
	placed := func(id uint8, size int, position uint64) Got {
		return Got{ID: id, Size: size, Placed: true, Position: position}
	}
	next := func(from int64, m ...Got) Call { return got(TryNext, c, from, from+1, m...) }
	long := as(TryClaim, sized(1, 2, 1, 400, OK))
	short := as(Commit, sized(3, 4, 1, 10, OK))
	for _, test := range []struct {
		name  string
		calls []Call
		want  porcupine.CheckResult
	}{
		{"all but a word", []Call{sized(1, 2, 1, 240, OK), sized(3, 4, 2, 240, OK), sized(5, 6, 3, 1, Full)}, porcupine.Ok},
		{"the word too", []Call{sized(1, 2, 1, 240, OK), sized(3, 4, 2, 240, OK), sized(5, 6, 3, 8, OK)}, porcupine.Illegal},
		{"one behind the other", []Call{sized(1, 2, 1, 1, OK), sized(3, 4, 2, 9, OK), sized(5, 6, 3, 0, OK),
			next(7, placed(1, 1, 0)), next(9, placed(2, 9, 16)), next(11, placed(3, 0, 40))}, porcupine.Ok},
		{"with a gap", []Call{sized(1, 2, 1, 1, OK), sized(3, 4, 2, 9, OK), next(7, placed(1, 1, 0)),
			next(9, placed(2, 9, 24))}, porcupine.Illegal},
		{"what is not used is given back", []Call{long, short, sized(5, 6, 2, 300, OK), next(7, placed(1, 10, 0)),
			next(9, placed(2, 300, 24))}, porcupine.Ok},
		{"what is not used is kept", []Call{long, short, sized(5, 6, 2, 300, Full)}, porcupine.Illegal},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := History{Geometry: Geometry{Slots: 8, SlotSize: slotSize, InLine: true}, Calls: test.calls}
			require.Equal(t, test.want, h.Check(10*time.Second), "%s", &h)
		})
	}
}
