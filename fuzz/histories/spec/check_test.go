package spec

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// The clients of these histories: producers, and a consumer with its successor.
const (
	p = iota
	q
	c
	c2
)

const slotSize = 64

func send(client int, from, to int64, id uint8, slots int, a Answer) Call {
	return Call{Client: client, Op: TrySend, ID: id, Size: slots * slotSize, Begin: from, End: to, Answer: a}
}

func as(op Op, m Call) Call {
	m.Op = op
	return m
}

func got(op Op, client int, from, to int64, m ...Got) Call {
	a := OK
	if len(m) == 0 {
		a = Empty
	}
	return Call{Client: client, Op: op, Max: 8, Begin: from, End: to, Answer: a, Got: m}
}

func receive(client int, from, to int64, ids ...uint8) Call {
	var m []Got
	for _, id := range ids {
		m = append(m, Got{ID: id, Size: slotSize})
	}
	return got(TryReceive, client, from, to, m...)
}

func at(id uint8, position uint64, again bool) Got {
	return Got{ID: id, Size: slotSize, Placed: true, Position: position, Redelivered: again}
}

func inHandler(m Got, when int64) Got {
	m.At = when
	return m
}

func atMost(n int, m Call) Call {
	m.Max = n
	return m
}

func call(op Op, client int, from, to int64, a Answer) Call {
	return Call{Client: client, Op: op, Begin: from, End: to, Answer: a}
}

func releaseOf(client int, from, to int64, loan int) Call {
	return Call{Client: client, Op: Release, Loan: loan, Begin: from, End: to, Answer: OK}
}

// filled are n messages of one slot, from id 1 on, one after the other until time 10 n.
func filled(n int) (list []Call) {
	for i := range n {
		list = append(list, send(p, int64(10*i+1), int64(10*i+9), uint8(i+1), 1, OK))
	}
	return list
}

type test struct {
	name   string
	calls  []Call
	deaths []Death
}

func judge(t *testing.T, mpsc bool, want Verdict, tests []test, promise ...int) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := History{Geometry: Geometry{MPSC: mpsc, Slots: 8, SlotSize: slotSize}, Calls: test.calls, Deaths: test.deaths}
			for _, client := range promise {
				h.AtMostOnce[client] = true
			}
			require.Equal(t, want, h.Check(10*time.Second), "%s", &h)
		})
	}
}

var diesAt50 = []Death{{Client: p, Last: 30, Dead: 50}}

// What a ring of either kind may answer.
var rightOfBoth = []test{
	{"in order", append(filled(2), receive(c, 21, 22, 1), receive(c, 23, 24, 2)), nil},
	{"at the same time", []Call{send(p, 1, 9, 1, 1, OK), receive(c, 2, 8, 1)}, nil},
	{"not yet", []Call{send(p, 1, 9, 1, 1, OK), receive(c, 2, 8)}, nil},
	{"received and not come back", append(filled(8), receive(c, 81, 82, 1), send(p, 83, 84, 9, 1, Full)), nil},
	{"come back", append(filled(8), receive(c, 81, 82, 1), receive(c, 83, 84, 2),
		send(p, 85, 86, 9, 1, OK)), nil},
	{"come back within a call that takes what was sent meanwhile", []Call{
		send(p, 1, 2, 1, 8, OK), got(TryReceive, c, 3, 4, Got{ID: 1, Size: 8 * slotSize}),
		send(p, 6, 7, 2, 1, OK), receive(c, 5, 8, 2)}, nil},
	{"full while on loan", append(filled(8), got(TryNext, c, 81, 82, at(1, 0, false)), receive(c, 83, 84, 2),
		receive(c, 85, 86, 3), send(p, 87, 88, 9, 1, Full), releaseOf(c, 89, 90, 1), send(p, 91, 92, 9, 2, Full),
		send(p, 93, 94, 9, 1, OK), receive(c, 95, 96, 4), send(p, 97, 98, 10, 2, OK)), nil},
	{"what is released of several", append(filled(8), got(TryNext, c, 81, 82, at(1, 0, false)),
		got(TryNext, c, 83, 84, at(2, 1, false)), releaseOf(c, 85, 86, 1), send(p, 87, 88, 9, 2, Full),
		send(p, 89, 90, 9, 1, OK)), nil},
	{"padding is published before ErrFull", append(filled(6), receive(c, 61, 62, 1), receive(c, 63, 64, 2),
		receive(c, 65, 66, 3), send(p, 67, 68, 9, 4, Full), send(p, 69, 70, 9, 3, Full),
		send(p, 71, 72, 9, 2, OK)), nil},
	{"all room is for padding", append(filled(6), send(p, 67, 68, 9, 8, Full),
		send(p, 69, 70, 9, 1, Full)), nil},
	{"no room for the padding", append(filled(5), receive(c, 51, 52, 1), receive(c, 53, 54, 2),
		as(TryClaim, send(p, 55, 56, 6, 1, OK)), as(Commit, send(p, 57, 58, 6, 1, OK)), send(p, 61, 62, 7, 2, OK),
		send(p, 63, 64, 8, 1, OK), send(p, 65, 66, 9, 8, Full)), nil},
	{"drained", append(filled(3), got(TryDrain, c, 31, 40, inHandler(at(1, 0, false), 33),
		inHandler(at(2, 1, false), 35), inHandler(at(3, 2, false), 37))), nil},
	{"a release by a handler's return", append(filled(8), send(q, 84, 85, 9, 1, OK),
		atMost(2, got(TryDrain, c, 81, 90, inHandler(at(1, 0, false), 82), inHandler(at(2, 1, false), 88)))), nil},
	{"killed after it sent", []Call{send(p, 40, 50, 1, 1, None), receive(c, 45, 46, 1)}, diesAt50},
	{"killed before it sent", []Call{send(p, 40, 50, 1, 1, None), call(Check, c, 55, 56, OK),
		receive(c, 57, 58)}, diesAt50},
	{"again", append(filled(2), receive(c, 21, 22, 1), call(Open, c2, 60, 61, OK),
		got(TryNext, c2, 62, 63, at(1, 0, true)), got(TryNext, c2, 64, 65, at(2, 1, true))),
		[]Death{{Client: c, Last: 22, Dead: 50}}},
	{"again from the middle of a call", append(filled(3), got(TryReceive, c, 21, 22, at(1, 0, false)),
		call(TryReceive, c, 23, 50, None), call(Open, c2, 60, 61, OK), got(TryNext, c2, 62, 63, at(2, 1, true)),
		got(TryNext, c2, 64, 65, at(3, 2, false))), []Death{{Client: c, Last: 22, Dead: 50}}},
	{"an end is told", []Call{call(TryReceive, c, 1, 2, Told), send(p, 3, 4, 1, 1, OK),
		receive(c, 5, 6, 1)}, nil},
}

// What no ring may answer.
var wrongOfBoth = []test{
	{"false ErrEmpty", []Call{send(p, 1, 2, 1, 1, OK), receive(c, 3, 4)}, nil},
	{"false ErrFull", []Call{send(p, 1, 2, 1, 1, Full)}, nil},
	{"false ErrFull after a release", append(filled(8), receive(c, 81, 82, 1), receive(c, 83, 84, 2),
		send(p, 85, 86, 9, 1, Full)), nil},
	{"one slot too many", append(filled(8), send(p, 81, 82, 9, 1, OK)), nil},
	{"one slot too many on loan", append(filled(8), got(TryNext, c, 81, 82, at(1, 0, false)),
		receive(c, 83, 84, 2), send(p, 85, 86, 9, 1, OK)), nil},
	{"padding takes no room", append(filled(6), receive(c, 61, 62, 1), receive(c, 63, 64, 2),
		receive(c, 65, 66, 3), send(p, 67, 68, 9, 4, Full), send(p, 69, 70, 9, 3, OK)), nil},
	{"around the end of the lap", append(filled(6), receive(c, 61, 62, 1), receive(c, 63, 64, 2),
		receive(c, 65, 66, 3), send(p, 67, 68, 9, 4, OK)), nil},
	{"ErrFull and no padding before it", append(filled(6), receive(c, 61, 62, 1), receive(c, 63, 64, 2),
		receive(c, 65, 66, 3), send(p, 67, 68, 9, 4, Full), send(p, 69, 70, 8, 1, OK), send(p, 71, 72, 9, 1, OK),
		send(p, 73, 74, 10, 1, OK)), nil},
	{"inversion", append(filled(2), receive(c, 21, 22, 2), receive(c, 23, 24, 1)), nil},
	{"loss", append(filled(2), receive(c, 21, 22, 2)), nil},
	{"twice", append(filled(2), receive(c, 21, 22, 1), receive(c, 23, 24, 1)), nil},
	{"before it was sent", []Call{receive(c, 1, 2, 1), send(p, 3, 4, 1, 1, OK)}, nil},
	{"from nowhere", []Call{receive(c, 1, 2, 7)}, nil},
	{"of another length", []Call{send(p, 1, 2, 1, 2, OK), receive(c, 3, 4, 1)}, nil},
	{"at another position", append(filled(2), got(TryNext, c, 21, 22, at(1, 1, false))), nil},
	{"refused and delivered", append(filled(8), send(p, 81, 82, 9, 1, Full), got(TryDrain, c, 83, 99,
		inHandler(at(1, 0, false), 84), inHandler(at(2, 1, false), 85), inHandler(at(3, 2, false), 86),
		inHandler(at(4, 3, false), 87), inHandler(at(5, 4, false), 88), inHandler(at(6, 5, false), 89),
		inHandler(at(7, 6, false), 90), inHandler(at(8, 7, false), 91)), receive(c, 101, 102, 9)), nil},
	{"aborted and delivered", []Call{as(TryClaim, send(p, 1, 2, 1, 1, OK)), as(Abort, send(p, 3, 4, 1, 1, OK)),
		receive(c, 5, 6, 1)}, nil},
	{"delivered before the commit", []Call{as(TryClaim, send(p, 1, 2, 1, 1, OK)), receive(c, 3, 4, 1),
		as(Commit, send(p, 5, 6, 1, 1, OK))}, nil},
	{"again, and not marked", append(filled(2), receive(c, 21, 22, 1), call(Open, c2, 60, 61, OK),
		got(TryNext, c2, 62, 63, at(1, 0, false))), []Death{{Client: c, Last: 22, Dead: 50}}},
	{"marked for no reason", append(filled(3), receive(c, 31, 32, 1), call(Open, c2, 60, 61, OK),
		got(TryNext, c2, 62, 63, at(1, 0, true)), got(TryNext, c2, 64, 65, at(2, 1, true)),
		got(TryNext, c2, 66, 67, at(3, 2, true))), []Death{{Client: c, Last: 32, Dead: 50}}},
	{"released by a kill", append(filled(2), receive(c, 21, 22, 1), call(Open, c2, 60, 61, OK),
		receive(c2, 62, 63, 2)), []Death{{Client: c, Last: 22, Dead: 50}}},
	{"sent by the dead", []Call{send(p, 40, 50, 1, 1, None), call(Check, c, 55, 56, OK), receive(c, 57, 58),
		receive(c, 59, 60, 1)}, diesAt50},
	{"a drain that ends early", append(filled(3),
		got(TryDrain, c, 31, 40, inHandler(at(1, 0, false), 33))), nil},
}

func TestRight(t *testing.T) {
	t.Run("spsc", func(t *testing.T) { judge(t, false, porcupine.Ok, rightOfBoth) })
	t.Run("mpsc", func(t *testing.T) { judge(t, true, porcupine.Ok, rightOfBoth) })
}

func TestWrong(t *testing.T) {
	t.Run("spsc", func(t *testing.T) { judge(t, false, porcupine.Illegal, wrongOfBoth) })
	t.Run("mpsc", func(t *testing.T) { judge(t, true, porcupine.Illegal, wrongOfBoth) })
}

// Where the two kinds differ: a claim of an MPSC ring is there before it is committed.
func TestClaims(t *testing.T) {
	held := as(TryClaim, send(p, 1, 2, 1, 1, OK))
	behind := send(q, 3, 4, 2, 1, OK)
	commit := as(Commit, send(p, 7, 8, 1, 1, OK))
	abort := as(Abort, send(p, 7, 8, 1, 1, OK))
	dead := []Death{{Client: p, Last: 2, Dead: 50}}
	judge(t, true, porcupine.Ok, []test{
		{"held up by an open claim", []Call{held, behind, receive(c, 5, 6), commit, receive(c, 9, 10, 1),
			receive(c, 11, 12, 2)}, nil},
		{"held up inside a call", []Call{send(p, 1, 9, 1, 1, OK), behind, receive(c, 5, 6),
			receive(c, 10, 11, 1)}, nil},
		{"not held up inside a call", []Call{send(p, 1, 9, 1, 1, OK), behind, receive(c, 5, 6, 2)}, nil},
		{"passed after abort", []Call{held, behind, abort, receive(c, 9, 10, 2)}, nil},
		{"held up by the dead until Check", []Call{held, behind, receive(c, 55, 56), call(Check, c, 57, 58, OK),
			receive(c, 59, 60, 2)}, dead},
		{"Check does not know yet", []Call{held, behind, call(Check, c, 45, 46, OK), receive(c, 55, 56)}, dead},
		{"Check does not know while somebody opens", []Call{held, behind, call(Join, 4, 51, 60, OK),
			call(Check, c, 57, 58, OK), receive(c, 59, 60), call(Check, c, 61, 62, OK), receive(c, 63, 64, 2)}, dead},
		{"killed between claim and commit", []Call{send(p, 1, 50, 1, 1, None), behind, receive(c, 55, 56),
			call(Check, c, 57, 58, OK), receive(c, 59, 60, 2)}, []Death{{Client: p, Dead: 50}}},
		{"open and aborted claims take room", append(filled(6), as(TryClaim, send(q, 61, 62, 7, 1, OK)),
			as(TryClaim, send(p, 63, 64, 8, 1, OK)), as(Abort, send(p, 65, 66, 8, 1, OK)),
			send(p, 67, 68, 9, 1, Full)), nil},
		{"claims of the dead take room", []Call{as(TryClaim, send(p, 1, 2, 1, 8, OK)), send(q, 55, 56, 2, 1, Full),
			call(Check, c, 57, 58, OK), send(q, 59, 60, 2, 1, Full), receive(c, 61, 62),
			send(q, 63, 64, 2, 1, OK)}, dead},
	})
	judge(t, true, porcupine.Illegal, []test{
		{"false ErrEmpty behind finished calls", []Call{held, commit, receive(c, 9, 10)}, nil},
		{"an open claim is passed", []Call{held, behind, receive(c, 5, 6, 2)}, nil},
		{"a live claim is passed", []Call{held, behind, call(Check, c, 5, 6, OK), receive(c, 7, 8, 2)}, nil},
		{"the dead are passed without Check", []Call{held, behind, receive(c, 55, 56, 2)}, dead},
		{"the dead are not passed", []Call{held, behind, call(Check, c, 57, 58, OK), receive(c, 59, 60)}, dead},
		{"in the order of the commits", []Call{held, send(q, 3, 4, 2, 1, OK), commit, receive(c, 9, 10, 2),
			receive(c, 11, 12, 1)}, nil},
		{"a call that has returned held up", []Call{send(p, 1, 2, 1, 1, OK),
			as(TryClaim, send(q, 3, 4, 2, 1, OK)), receive(c, 5, 6)}, nil},
	})
	judge(t, false, porcupine.Ok, []test{
		{"an open claim is not there", []Call{held, receive(c, 5, 6), commit, receive(c, 9, 10, 1)}, nil},
		{"aborted, its room is there again", append(filled(7), as(TryClaim, send(p, 71, 72, 8, 1, OK)),
			as(Abort, send(p, 73, 74, 8, 1, OK)), send(p, 75, 76, 9, 1, OK)), nil},
	})
}
