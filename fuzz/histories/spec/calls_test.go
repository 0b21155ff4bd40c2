package spec

import (
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"
)

// small is the size of messages of which four are a batch of two slots, and two of one.
const small = 24

func batch(from, to int64, id uint8, n int, a Answer) Call {
	return Call{Client: p, Op: TrySendBatch, ID: id, Sizes: []int{small, small, small, small}, N: n,
		Begin: from, End: to, Answer: a}
}

// part is message number index of a batch, the first of which is id.
func part(id uint8, position uint64, index uint8, again bool) Got {
	return Got{ID: id + index, Size: small, Placed: true, Position: position, Index: index, Redelivered: again}
}

func unplaced(m Got) Got { return Got{ID: m.ID, Size: m.Size} }

func receivePart(client int, from int64, id, index uint8) Call {
	return got(TryReceive, client, from, from+1, unplaced(part(id, 0, index, false)))
}

func next(client int, from int64, m Got) Call { return got(TryNext, client, from, from+1, m) }

func eachKind(t *testing.T, want Verdict, tests []test, promise ...int) {
	t.Run("spsc", func(t *testing.T) { judge(t, false, want, tests, promise...) })
	t.Run("mpsc", func(t *testing.T) { judge(t, true, want, tests, promise...) })
}

var consumerDied = []Death{{Client: c, Last: 90, Dead: 95}}

// behind is a history that goes on.
func behind(calls []Call, more ...Call) []Call { return append(calls[:len(calls):len(calls)], more...) }

// A batch is sent from its beginning, in as few records as there is room for, and each is
// released and comes again as a whole.
func TestBatches(t *testing.T) {
	oneFree := append(filled(8), receive(c, 81, 82, 1), receive(c, 83, 84, 2))
	whole := []Call{batch(1, 2, 1, 4, OK)}
	full := whole
	for i := range 6 {
		full = behind(full, send(p, int64(10*i+3), int64(10*i+4), uint8(5+i), 1, OK))
	}
	second := behind(full, receivePart(c, 81, 1, 0), receivePart(c, 83, 1, 1))
	fourth := behind(second, receivePart(c, 85, 1, 2), receivePart(c, 87, 1, 3))
	sent := batch(1, 2, 1, 4, OK)
	eachKind(t, porcupine.Ok, []test{
		{"in one record", behind(whole, next(c, 3, part(1, 0, 0, false)), next(c, 5, part(1, 0, 1, false)),
			next(c, 7, part(1, 0, 2, false)), next(c, 9, part(1, 0, 3, false)), send(p, 11, 12, 5, 1, OK),
			next(c, 13, at(5, 2, false))), nil},
		{"a prefix", behind(oneFree, batch(85, 86, 9, 2, Full)), nil},
		{"nothing", append(filled(8), batch(85, 86, 9, 0, Full)), nil},
		{"alone, if there is room for one", append(filled(8), receive(c, 81, 82, 1), receive(c, 83, 84, 2),
			Call{Client: p, Op: TrySendBatch, ID: 9, Sizes: []int{64, 64}, N: 1, Begin: 85, End: 86, Answer: Full}), nil},
		{"padding before a record of two slots", append(filled(7), receive(c, 71, 72, 1), receive(c, 73, 74, 2),
			batch(81, 82, 9, 2, Full)), nil},
		{"not released within it", behind(second, send(p, 91, 92, 11, 1, Full)), nil},
		{"not released by Release within it", behind(full, next(c, 81, part(1, 0, 0, false)),
			next(c, 83, part(1, 0, 1, false)), releaseOf(c, 85, 86, 1), send(p, 87, 88, 11, 1, Full), releaseOf(c, 89, 90, 2),
			send(p, 91, 92, 11, 1, Full)), nil},
		{"released by Release behind it", behind(fourth[:len(fourth)-1:len(fourth)-1], next(c, 87, part(1, 0, 3, false)),
			releaseOf(c, 89, 90, 1), send(p, 91, 92, 11, 2, OK)), nil},
		{"released behind it", behind(fourth, receive(c, 89, 90, 5), send(p, 91, 92, 11, 2, OK)), nil},
		{"again as a whole", behind(whole, receivePart(c, 3, 1, 0), receivePart(c, 5, 1, 1), call(Open, c2, 96, 97, OK),
			next(c2, 98, part(1, 0, 0, true)), next(c2, 100, part(1, 0, 1, true))), consumerDied},
		{"cut off", behind([]Call{batch(40, 50, 1, 0, None)}, receivePart(c, 61, 1, 0), receivePart(c, 63, 1, 1)), diesAt50},
		{"in the midst of a drain", behind(whole, atMost(2, got(TryDrain, c, 11, 19, inHandler(part(1, 0, 0, false), 12),
			inHandler(part(1, 0, 1, false), 13))), receivePart(c, 21, 1, 2)), nil},
	})
	eachKind(t, porcupine.Illegal, []test{
		{"more than there is room for", behind(oneFree, batch(85, 86, 9, 4, OK)), nil},
		{"less than there is room for", behind(oneFree, batch(85, 86, 9, 1, Full)), nil},
		{"nothing, though there is room", behind(oneFree, batch(85, 86, 9, 0, Full)), nil},
		{"a part, and no error", behind(oneFree, batch(85, 86, 9, 2, OK)), nil},
		{"all, and an error", []Call{batch(1, 2, 1, 4, Full)}, nil},
		{"what was refused is delivered", behind(oneFree, batch(85, 86, 9, 2, Full), got(TryDrain, c, 87, 99,
			inHandler(at(3, 2, false), 88), inHandler(at(4, 3, false), 89), inHandler(at(5, 4, false), 90),
			inHandler(at(6, 5, false), 91), inHandler(at(7, 6, false), 92), inHandler(at(8, 7, false), 93),
			inHandler(part(9, 8, 0, false), 94), inHandler(part(9, 8, 1, false), 95)), receivePart(c, 101, 9, 2)), nil},
		{"in records of their own, though there is room", behind(whole, next(c, 3, part(1, 0, 0, false)),
			next(c, 5, Got{ID: 2, Size: small, Placed: true, Position: 1})), nil},
		{"one of it is lost", behind(whole, receivePart(c, 3, 1, 0), receivePart(c, 5, 1, 2)), nil},
		{"one of it comes twice", behind(whole, receivePart(c, 3, 1, 0), receivePart(c, 5, 1, 0)), nil},
		{"one of it under the name of another", behind(whole, next(c, 3, part(1, 0, 0, false)),
			next(c, 5, Got{ID: 2, Size: small, Placed: true})), nil},
		{"empty in the midst", behind(whole, receivePart(c, 3, 1, 0), receive(c, 5, 6)), nil},
		{"out of order", behind(whole, receivePart(c, 3, 1, 1)), nil},
		{"in front of what was sent before", []Call{send(p, 1, 2, 5, 1, OK), as(TrySendBatch, sent),
			receivePart(c, 3, 1, 0)}, nil},
		{"released within it", behind(second, send(p, 91, 92, 11, 1, OK)), nil},
		{"again from the midst", behind(whole, receivePart(c, 3, 1, 0), receivePart(c, 5, 1, 1),
			call(Open, c2, 96, 97, OK), next(c2, 98, part(1, 0, 2, true))), consumerDied},
		{"of the dead, with a hole", behind([]Call{batch(40, 50, 1, 0, None)}, receivePart(c, 61, 1, 0),
			receivePart(c, 63, 1, 2)), diesAt50},
	})
}

// When a consumer stores ReadPos within a batch: on a ring of 16 slots it does that for every two.
func TestReleasesAroundBatches(t *testing.T) {
	var first []Got // fourteen messages, and the fifteenth alone
	var calls []Call
	for i := range uint8(15) {
		calls = append(calls, send(p, int64(10*i+1), int64(10*i+9), i+1, 1, OK))
		first = append(first, inHandler(at(i+1, uint64(i), false), 201))
	}
	all := got(TryDrain, c, 200, 202, first[:14]...)
	calls = behind(calls, atMost(14, all), receive(c, 203, 204, 15), batch(205, 206, 16, 4, OK),
		send(p, 207, 208, 20, 12, OK))
	// The batch is at 16, behind a slot of padding; 14 and 15 are handled and not released.
	drained := got(TryDrain, c, 210, 290, inHandler(part(16, 16, 0, false), 220), inHandler(part(16, 16, 1, false), 230),
		inHandler(part(16, 16, 2, false), 240), inHandler(part(16, 16, 3, false), 250))
	within := behind(calls, atMost(4, drained))
	half := drained
	half.Got, half.Max, half.End = drained.Got[:2], 2, 240
	left := behind(calls, half)
	ring := Geometry{Slots: 16, SlotSize: slotSize}
	for _, ring.MPSC = range []bool{false, true} {
		for _, test := range []struct {
			name  string
			calls []Call
			want  Verdict
		}{
			{"nothing within a batch", behind(within, send(p, 235, 236, 21, 1, Full)), porcupine.Ok},
			{"all behind it", behind(within, send(p, 291, 292, 21, 2, OK), send(p, 293, 294, 22, 2, OK),
				send(p, 295, 296, 23, 1, Full)), porcupine.Ok},
			{"none behind it", behind(within, send(p, 291, 292, 21, 1, Full)), porcupine.Illegal},
			{"what is before it, when a drain ends there", behind(left, send(p, 291, 292, 21, 2, OK)), porcupine.Ok},
			{"more, when a drain ends there", behind(left, send(p, 291, 292, 21, 2, OK),
				send(p, 293, 294, 22, 1, OK)), porcupine.Illegal},
		} {
			t.Run(test.name, func(t *testing.T) {
				h := History{Geometry: ring, Calls: test.calls}
				require.Equal(t, test.want, h.Check(10*time.Second), "%s", &h)
			})
		}
	}
	// A drain that ends in a batch lets the next call do chores.
	calls = []Call{send(p, 1, 2, 1, 1, OK), batch(3, 4, 2, 4, OK), send(p, 5, 6, 6, 13, OK), receive(c, 7, 8, 1),
		atMost(1, got(TryDrain, c, 9, 20, inHandler(part(2, 1, 0, false), 10))), send(p, 21, 22, 7, 1, Full),
		receivePart(c, 23, 2, 1), send(p, 25, 26, 7, 1, OK)}
	h := History{Geometry: Geometry{Slots: 16, SlotSize: slotSize}, Calls: calls}
	require.Equal(t, porcupine.Ok, h.Check(10*time.Second), "%s", &h)
	h.Calls[7].Answer = Full
	require.Equal(t, porcupine.Illegal, h.Check(10*time.Second), "%s", &h)
}

// A call that was killed may have been told of the end of a stream, behind the message that it came
// back from, and have released that.
func TestKilledWhenTold(t *testing.T) {
	calls := []Call{send(p, 1, 2, 1, 1, OK), send(p, 3, 4, 2, 1, OK), receive(c, 5, 6, 1),
		call(TryReceive, c, 7, 20, None), call(Open, c2, 30, 31, OK), call(TryReceive, c2, 32, 33, Told),
		got(TryNext, c2, 34, 35, at(2, 1, true))}
	h := History{Geometry: Geometry{Slots: 16, SlotSize: slotSize}, Calls: calls,
		Deaths: []Death{{Client: c, Last: 6, Dead: 20}}}
	require.Equal(t, porcupine.Ok, h.Check(10*time.Second), "%s", &h)
	h.Calls[3] = call(TryReceive, c, 7, 8, Told) // and it was not killed there
	h.Deaths[0].Last = 8
	require.Equal(t, porcupine.Ok, h.Check(10*time.Second), "%s", &h)
	h.Calls = append(h.Calls[:3:3], h.Calls[4:]...) // nor made another call: then the message comes again
	h.Deaths[0].Last = 6
	require.Equal(t, porcupine.Illegal, h.Check(10*time.Second), "%s", &h)
}

// Shorten changes what is delivered, not the room that was claimed.
func TestShorten(t *testing.T) {
	short := as(Commit, send(p, 3, 4, 1, 1, OK))
	short.Size = 10
	calls := []Call{as(TryClaim, send(p, 1, 2, 1, 3, OK)), short, send(p, 5, 6, 2, 1, OK)}
	shortened := Got{ID: 1, Size: 10, Placed: true}
	eachKind(t, porcupine.Ok, []test{
		{"shortened", behind(calls, next(c, 7, shortened), next(c, 9, at(2, 3, false))), nil},
		{"its slots are taken", behind(calls, send(p, 7, 8, 3, 4, OK), send(p, 9, 10, 4, 1, Full)), nil},
	})
	eachKind(t, porcupine.Illegal, []test{
		{"as long as it was claimed", behind(calls, next(c, 7, Got{ID: 1, Size: 3 * slotSize, Placed: true})), nil},
		{"its slots are given back", behind(calls, next(c, 7, shortened), next(c, 9, at(2, 1, false))), nil},
		{"more room than there is", behind(calls, send(p, 7, 8, 3, 5, OK)), nil},
	})
}

func dropped(client int, from int64, n int) Call {
	return Call{Client: client, Op: Dropped, N: n, Begin: from, End: from + 1, Answer: OK}
}

// What was handed out is never handed out again, and nothing else is lost.
func TestAtMostOnce(t *testing.T) {
	open := call(Open, c2, 96, 97, OK)
	two := append(filled(3), receive(c, 31, 32, 1), open)
	half := []Call{batch(1, 2, 1, 4, OK), send(p, 3, 4, 5, 1, OK), receivePart(c, 5, 1, 0), open}
	inside := append(filled(3), receive(c, 31, 32, 1), call(TryReceive, c, 90, 95, None), open)
	eachKind(t, porcupine.Ok, []test{
		{"lost", behind(two, next(c2, 98, at(2, 1, false)), dropped(c2, 101, 1)), consumerDied},
		{"lost with the rest of its batch", behind(half, next(c2, 98, at(5, 2, false)), dropped(c2, 101, 1)), consumerDied},
		{"perhaps handed out", behind(inside, next(c2, 98, at(2, 1, false)), dropped(c2, 101, 0)), consumerDied},
		{"perhaps not", behind(inside, next(c2, 98, at(3, 2, false)), dropped(c2, 101, 1)), consumerDied},
	}, c, c2)
	eachKind(t, porcupine.Illegal, []test{
		{"again", behind(two, next(c2, 98, at(1, 0, true))), consumerDied},
		{"again, and not marked", behind(two, next(c2, 98, at(1, 0, false))), consumerDied},
		{"again by a copy", behind(two, receive(c2, 98, 99, 1)), consumerDied},
		{"lost before it was handed out", behind(two, next(c2, 98, at(3, 2, false))), consumerDied},
		{"lost and not counted", behind(two, next(c2, 98, at(2, 1, false)), dropped(c2, 101, 0)), consumerDied},
		{"counted twice", behind(two, next(c2, 98, at(2, 1, false)), dropped(c2, 101, 2)), consumerDied},
		{"the rest of a batch is not lost", behind(half, next(c2, 98, part(1, 0, 1, false))), consumerDied},
		{"released, and counted as lost", append(filled(3), receive(c, 31, 32, 1), receive(c, 33, 34, 2), open,
			next(c2, 98, at(3, 2, false)), dropped(c2, 101, 2)), consumerDied},
		{"lost without a death", append(filled(3), receive(c, 31, 32, 2)), nil},
	}, c, c2)
	// The former one has not promised it: its mark ran ahead.
	eachKind(t, porcupine.Ok, []test{
		{"behind the mark", behind(two, next(c2, 98, at(3, 2, false)), dropped(c2, 101, 2)), consumerDied},
	}, c2)
	eachKind(t, porcupine.Illegal, []test{
		{"before the mark", behind(two, next(c2, 98, at(2, 1, false))), consumerDied},
	}, c2)
}

// A consumer that is closed has released what was handled, and its mark is exact.
func TestStop(t *testing.T) {
	stop := func(from int64) Call { return call(Stop, c, from, from+1, OK) }
	open := call(Open, c, 96, 97, OK)
	one := append(filled(3), receive(c, 31, 32, 1), stop(91), open)
	loan := append(filled(3), next(c, 31, at(1, 0, false)), stop(91), open)
	half := []Call{batch(1, 2, 1, 4, OK), send(p, 3, 4, 5, 1, OK), receivePart(c, 5, 1, 0), stop(91), open}
	killed := append(filled(3), receive(c, 31, 32, 1), call(Stop, c, 90, 95, None), call(Open, c2, 96, 97, OK))
	eachKind(t, porcupine.Ok, []test{
		{"released", behind(one, next(c, 98, at(2, 1, false)), dropped(c, 101, 0)), nil},
		{"held", behind(loan, next(c, 98, at(1, 0, true)), next(c, 101, at(2, 1, false))), nil},
		{"in a batch", behind(half, next(c, 98, part(1, 0, 0, true)), dropped(c, 101, 0)), nil},
		{"what was seen before", append(filled(3), receive(c, 31, 32, 1), call(Open, c2, 96, 97, OK),
			call(Stop, c2, 98, 99, OK), call(Open, c2, 101, 102, OK), next(c2, 103, at(1, 0, true))), consumerDied},
		{"loans are counted anew", behind(loan, next(c, 98, at(1, 0, true)), releaseOf(c, 101, 102, 1),
			stop(103), call(Open, c, 105, 106, OK), next(c, 107, at(2, 1, false))), nil},
		{"killed before", behind(killed, next(c2, 98, at(1, 0, true)), next(c2, 101, at(2, 1, true))), consumerDied},
		{"killed in between", behind(killed, next(c2, 98, at(2, 1, true))), consumerDied},
		{"killed behind", behind(killed, next(c2, 98, at(2, 1, false))), consumerDied},
	})
	eachKind(t, porcupine.Illegal, []test{
		{"not released", behind(one, next(c, 98, at(1, 0, true))), nil},
		{"the mark runs ahead", behind(one, next(c, 98, at(2, 1, true))), nil},
		{"held, and released", behind(loan, next(c, 98, at(2, 1, false))), nil},
		{"held, and not marked", behind(loan, next(c, 98, at(1, 0, false))), nil},
		{"what was seen before, and not marked", append(filled(3), receive(c, 31, 32, 1), call(Open, c2, 96, 97, OK),
			call(Stop, c2, 98, 99, OK), call(Open, c2, 101, 102, OK), next(c2, 103, at(1, 0, false))), consumerDied},
		{"in a batch, from there", behind(half, next(c, 98, part(1, 0, 1, true))), nil},
		{"in a batch, and not marked", behind(half, next(c, 98, part(1, 0, 0, false))), nil},
	})
	eachKind(t, porcupine.Ok, []test{
		{"nothing is lost", behind(one, next(c, 98, at(2, 1, false)), dropped(c, 101, 0)), nil},
		{"what was held is", behind(loan, next(c, 98, at(2, 1, false)), dropped(c, 101, 1)), nil},
		{"so is the rest of a batch", behind(half, next(c, 98, at(5, 2, false)), dropped(c, 101, 1)), nil},
	}, c)
	eachKind(t, porcupine.Illegal, []test{
		{"lost", behind(one, next(c, 98, at(3, 2, false))), nil},
		{"again", behind(loan, next(c, 98, at(1, 0, true))), nil},
		{"the rest of a batch", behind(half, next(c, 98, part(1, 0, 1, true))), nil},
	}, c)
}

func forceSkip(from int64, position uint64, a Answer) Call {
	return Call{Client: c, Op: ForceSkip, Position: position, Begin: from, End: from + 1, Answer: a}
}

// A claim that was revoked is never delivered, its owner learns of it, and neither its slots nor
// those behind them are used again before the owner has closed its handle or died.
func TestForceSkip(t *testing.T) {
	held := as(TryClaim, send(p, 1, 2, 1, 1, OK))
	commit := func(from int64, a Answer) Call { return as(Commit, send(p, from, from+1, 1, 1, a)) }
	leave := func(from int64) Call { return call(Leave, p, from, from+1, OK) }
	other := send(q, 3, 4, 2, 1, OK)
	skipped := []Call{held, other, forceSkip(5, 0, OK)}
	full := []Call{held, send(q, 3, 4, 2, 4, OK), send(q, 5, 6, 3, 3, OK), forceSkip(7, 0, OK)}
	passed := behind(full, got(TryNext, c, 9, 10, Got{ID: 2, Size: 4 * slotSize, Placed: true, Position: 1}),
		releaseOf(c, 11, 12, 1), receive(c, 13, 14), send(q, 15, 16, 4, 1, Full))
	passed[5], passed[6] = got(TryReceive, c, 11, 12, Got{ID: 3, Size: 3 * slotSize}), releaseOf(c, 13, 14, 1)
	dead := []Death{{Client: p, Last: 20, Dead: 30}}
	second := as(TryClaim, send(p, 3, 4, 2, 1, OK))
	judge(t, true, porcupine.Ok, []test{
		{"passed at once", behind(skipped, receive(c, 7, 8, 2), commit(9, Revoked)), nil},
		{"finished at the last moment", []Call{held, other, commit(5, OK), forceSkip(7, 0, NotStalled),
			receive(c, 9, 10, 1)}, nil},
		{"inside a send", []Call{send(p, 1, 9, 1, 1, Revoked), other, forceSkip(5, 0, OK), receive(c, 7, 8, 2)}, nil},
		{"inside a batch", []Call{batch(1, 9, 3, 0, Revoked), other, forceSkip(5, 0, OK), receive(c, 7, 8, 2)}, nil},
		{"and nothing else either", behind(skipped, commit(7, Revoked), send(p, 9, 10, 3, 1, Revoked),
			batch(11, 12, 4, 0, Revoked), as(TryClaim, send(p, 13, 14, 8, 1, Revoked))), nil},
		{"learned by aborting", behind(skipped, as(Abort, send(p, 7, 8, 1, 1, OK)), send(p, 9, 10, 3, 1, Revoked)), nil},
		{"not known yet", behind(skipped, send(p, 7, 8, 3, 1, OK), receive(c, 9, 10, 2), receive(c, 11, 12, 3)), nil},
		{"its slots are not free, nor those behind", passed, nil},
		{"they are when its owner has left", behind(passed, leave(17), receive(c, 19, 20), send(q, 21, 22, 4, 8, OK)), nil},
		{"another handle sends", behind(skipped, commit(7, Revoked), leave(9), call(Join, p, 11, 12, OK),
			send(p, 13, 14, 3, 1, OK), receive(c, 15, 16, 2), receive(c, 17, 18, 3)), nil},
		{"they are when its owner has died", behind(passed, call(Check, c, 41, 42, OK), receive(c, 43, 44),
			send(q, 45, 46, 4, 8, OK)), dead},
		{"about to be committed", []Call{held, as(Commit, send(p, 4, 9, 1, 1, OK)), forceSkip(5, 0, Busy)}, nil},
		{"another of the same owner", []Call{held, second, forceSkip(5, 0, OK), forceSkip(7, 1, Busy)}, nil},
		{"what is open when its owner leaves is like a claim of the dead", []Call{held, second, forceSkip(5, 0, OK),
			commit(7, Revoked), leave(9), send(q, 11, 12, 3, 1, OK), receive(c, 13, 14), call(Check, c, 15, 16, OK),
			receive(c, 17, 18, 3)}, nil},
		{"of the dead", []Call{held, other, forceSkip(41, 0, OK), receive(c, 43, 44, 2), receive(c, 45, 46),
			send(q, 47, 48, 3, 6, OK), send(q, 49, 50, 4, 2, OK)}, dead},
	})
	judge(t, true, porcupine.Illegal, []test{
		{"delivered", behind(skipped, receive(c, 7, 8, 1)), nil},
		{"delivered later", behind(skipped, receive(c, 7, 8, 2), commit(9, Revoked), receive(c, 11, 12, 1)), nil},
		{"its owner is not told", behind(skipped, receive(c, 7, 8, 2), commit(9, OK)), nil},
		{"its owner goes on", behind(skipped, commit(7, Revoked), send(p, 9, 10, 3, 1, OK)), nil},
		{"its owner goes on after an Abort", behind(skipped, as(Abort, send(p, 7, 8, 1, 1, OK)),
			send(p, 9, 10, 3, 1, OK)), nil},
		{"revoked without ForceSkip", []Call{held, commit(3, Revoked)}, nil},
		{"revoked, and ErrNotStalled", []Call{held, forceSkip(3, 0, NotStalled)}, nil},
		{"revoked, and finished", []Call{held, commit(3, OK), forceSkip(5, 0, OK)}, nil},
		{"held up all the same", behind(skipped, receive(c, 7, 8)), nil},
		{"its slots are free", behind(passed, send(q, 17, 18, 4, 1, OK)), nil},
		{"they stay taken when its owner has left", behind(passed, leave(17), receive(c, 19, 20),
			send(q, 21, 22, 4, 1, Full)), nil},
		{"they stay taken when its owner has died", behind(passed, call(Check, c, 41, 42, OK), receive(c, 43, 44),
			send(q, 45, 46, 4, 1, Full)), dead},
		{"two of an owner", []Call{held, second, forceSkip(5, 0, OK), forceSkip(7, 1, OK)}, nil},
		{"busy for no reason", []Call{held, forceSkip(3, 0, Busy)}, nil},
		{"busy behind the commit", []Call{held, commit(3, OK), forceSkip(5, 0, Busy)}, nil},
		{"another one is about to be committed", []Call{held, second, as(Commit, send(p, 5, 9, 2, 1, OK)),
			forceSkip(6, 0, Busy)}, nil},
		{"a claim of who has left is passed without Check", []Call{held, second, forceSkip(5, 0, OK), commit(7, Revoked),
			leave(9), send(q, 11, 12, 3, 1, OK), receive(c, 13, 14, 3)}, nil},
	})
}

// While a producer that has waited for 5 ms has priority, others may be refused though there is
// room.
func TestTurns(t *testing.T) {
	const ms = 1_000_000
	oneFree := append(filled(8), receive(c, 81, 82, 1), receive(c, 83, 84, 2))
	waits := as(Send, send(q, 100, 20*ms, 20, 4, OK))
	others := func(from int64, a Answer) Call { return send(p, from, from+1, 9, 1, a) }
	drained := got(TryDrain, c, 15*ms, 16*ms)
	for i := range uint8(6) {
		drained.Got = append(drained.Got, inHandler(at(3+i, uint64(2+i), false), 15*ms+1+int64(i)))
	}
	drained.Answer = OK
	timedOut := waits
	timedOut.Answer = TimedOut
	quick := as(Send, send(q, 100, 4*ms, 20, 4, TimedOut))
	atOnce := as(Send, send(q, 1, 20*ms, 1, 1, OK)) // it has room, and takes its time
	cutOff := as(Send, send(q, 1, 20*ms, 1, 1, None))
	dead := []Death{{Client: q, Last: 1, Dead: 20 * ms}}
	judge(t, true, porcupine.Ok, []test{
		{"held back", behind(oneFree, waits, others(10*ms, Full), drained), nil},
		{"not held back", behind(oneFree, waits, others(10*ms, OK), atMost(6, drained)), nil},
		{"held back, in vain", behind(oneFree, timedOut, others(10*ms, Full)), nil},
		{"a batch is held back", behind(oneFree, waits, batch(10*ms, 10*ms+1, 9, 0, Full), drained), nil},
		{"not full any more", behind(oneFree, waits, drained, others(20*ms+1, OK)), nil},
		{"long, and claimed at once", []Call{atOnce, send(p, 3, 4, 2, 1, OK), receive(c, 5, 6, 1), receive(c, 7, 8, 2)}, nil},
		{"long, and claimed late", []Call{atOnce, send(p, 3, 4, 2, 1, OK), receive(c, 5, 6, 2),
			receive(c, 15*ms, 15*ms+1, 1)}, nil},
		{"claimed at once, and killed", []Call{cutOff, send(p, 3, 4, 2, 1, OK), receive(c, 5, 6),
			call(Check, c, 20*ms+1, 20*ms+2, OK), got(TryNext, c, 20*ms+3, 20*ms+4, at(2, 1, false))}, dead},
	})
	judge(t, true, porcupine.Illegal, []test{
		{"held back before its time", behind(oneFree, waits, others(3*ms, Full), drained), nil},
		{"held back for who has not waited", behind(oneFree, quick, others(3*ms, Full)), nil},
		{"held back for who had room at once", []Call{atOnce, receive(c, 5, 6, 1), others(10*ms, Full)}, nil},
		{"sent twice", []Call{atOnce, receive(c, 5, 6, 1), receive(c, 15*ms, 15*ms+1, 1)}, nil},
		{"held back behind the end", behind(oneFree, waits, drained, others(20*ms+1, Full)), nil},
		{"held back for oneself", behind(oneFree, timedOut, send(q, 20*ms+1, 20*ms+2, 21, 1, Full)), nil},
		{"no room, and sent", behind(oneFree, waits), nil},
		{"room, and not sent", []Call{timedOut}, nil},
	})
}

func drain(from, to int64, a Answer, m ...Got) Call {
	d := got(Drain, c, from, to, m...)
	d.Answer = a
	return d
}

// A Drain that waits looks after the ring meanwhile.
func TestDrain(t *testing.T) {
	held := as(TryClaim, send(p, 1, 2, 1, 1, OK))
	other := send(q, 3, 4, 2, 1, OK)
	dead := []Death{{Client: p, Last: 2, Dead: 50}}
	two := inHandler(at(2, 1, false), 58)
	eachKind(t, porcupine.Ok, []test{
		{"waits", []Call{drain(1, 20, OK, inHandler(at(1, 0, false), 15)), send(p, 10, 12, 1, 1, OK)}, nil},
		{"waits in vain", []Call{drain(1, 20, TimedOut), send(p, 10, 25, 1, 1, OK)}, nil},
		{"gives back what was received", append(filled(8), got(TryDrain, c, 81, 89, func() (all []Got) {
			for i := range uint8(8) {
				all = append(all, inHandler(at(1+i, uint64(i), false), 82))
			}
			return all
		}()...), drain(91, 99, TimedOut), send(p, 101, 102, 9, 8, OK)), nil},
		{"ends a loop, though there are messages", append(filled(3), receive(c, 31, 32, 1), drain(33, 34, TimedOut)), nil},
	})
	eachKind(t, porcupine.Illegal, []test{
		{"ends, though there are messages", append(filled(3), drain(33, 34, TimedOut)), nil},
		{"ends early", append(filled(2), drain(33, 40, OK, inHandler(at(1, 0, false), 34))), nil},
	})
	judge(t, true, porcupine.Ok, []test{
		{"passes the dead", []Call{held, other, drain(55, 60, OK, two)}, dead},
	})
	judge(t, true, porcupine.Illegal, []test{
		{"passes the living", []Call{held, other, drain(55, 60, OK, two)}, nil},
		{"is held up by nobody", []Call{other, drain(55, 60, TimedOut)}, nil},
	})
}
