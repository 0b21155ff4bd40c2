package load

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// stream makes n messages and the last one, as a consumer gets them.
func makeStream(slot int, sizes Sizes, n int) []Message {
	g := NewGenerator(slot, sizes)
	var out []Message
	for range n {
		b := make([]byte, g.Size())
		g.Fill(b)
		out = append(out, Message{Slot: slot, Kind: g.Kind(), Data: b})
		g.Advance()
	}
	return append(out, Message{Slot: slot, Kind: Last, Data: g.Last(sizes.Max)})
}

func check(fromStart bool, streams ...[]Message) Report {
	v := Verifier{FromStart: fromStart}
	for _, s := range streams {
		for _, m := range s {
			v.Check(m)
		}
	}
	return v.Report()
}

func TestWholeStreamsOfAllSizes(t *testing.T) {
	for _, sizes := range []Sizes{
		{0, 0}, {1, 1}, {2, 2}, {7, 7}, {8, 8}, {9, 9}, {23, 23}, {24, 24}, {25, 25}, {48, 48}, {4096 + 24, 4096 + 24},
		{65528, 65528}, {0, 100}, {8, 30}, {1, 7}, {100, 20000},
	} {
		t.Run(sizes.String(), func(t *testing.T) {
			r := check(true, makeStream(3, sizes, 300))
			require.True(t, r.OK(), "%+v", r)
			require.Equal(t, Report{Streams: 1, Finished: 1, Verified: 300}, r)
		})
	}
}

func TestEmptyStream(t *testing.T) {
	require.Equal(t, Report{Streams: 1, Finished: 1}, check(true, makeStream(1, Sizes{64, 64}, 0)))
}

func TestEveryDamagedByteIsNoticed(t *testing.T) {
	for _, size := range []int{8, 20, 24, 100, 5000} {
		for at := range size {
			s := makeStream(1, Sizes{size, size}, 5)
			s[2].Data[at] ^= 0x10
			r := check(true, s)
			// A damaged number may look like one that is far ahead, never like the right one.
			require.False(t, r.OK(), "size %d, byte %d", size, at)
		}
	}
}

// A message whose second half is that of another one.
func TestTornMessagesAreNoticed(t *testing.T) {
	for _, size := range []int{16, 24, 64, 4096, 65528} {
		s := makeStream(1, Sizes{size, size}, 10)
		copy(s[4].Data[size/2:], s[5].Data[size/2:])
		require.EqualValues(t, 1, check(true, s).Damaged, size)
	}
}

func TestMessageOfWrongLengthIsNoticed(t *testing.T) {
	s := makeStream(1, Sizes{64, 64}, 3)
	s[1].Data = s[1].Data[:63]
	require.EqualValues(t, 1, check(true, s).Damaged)
}

func TestForeignMessagesAreNoticed(t *testing.T) {
	r := check(true, []Message{{Slot: 1, Data: []byte("this was not made by a generator")}})
	require.EqualValues(t, 1, r.Damaged)
	r = check(true, []Message{{Slot: 1, Kind: 7, Data: []byte("x")}})
	require.EqualValues(t, 1, r.Damaged)
}

var allSizes = []Sizes{{1, 1}, {4, 4}, {8, 8}, {24, 24}, {300, 300}, {0, 60}}

func TestLostMessages(t *testing.T) {
	for _, sizes := range allSizes {
		s := makeStream(1, sizes, 50)
		for _, lost := range []struct{ from, to int }{{0, 1}, {10, 11}, {20, 35}, {49, 50}} {
			cut := append(append([]Message{}, s[:lost.from]...), s[lost.to:]...)
			r := check(true, cut)
			require.EqualValues(t, lost.to-lost.from, r.Lost, "%v without %v: %+v", sizes, lost, r)
			require.NotEmpty(t, r.Problems)
		}
	}
	require.EqualValues(
		t,
		1,
		check(true, append(makeStream(1, Sizes{0, 0}, 9)[:8], makeStream(1, Sizes{8, 8}, 9)[9:]...)).Lost,
		"of empty messages only the number is known",
	)
}

func TestLostEnd(t *testing.T) {
	s := makeStream(1, Sizes{64, 64}, 10)
	require.EqualValues(t, 3, check(true, append(s[:7:7], s[10])).Lost)
	require.Equal(t, Report{Streams: 1, Unfinished: 1, Cut: 1, Verified: 7}, check(true, s[:7]))
	require.Zero(
		t,
		check(true, s[:7], makeStream(2, Sizes{64, 64}, 10)).Cut,
		"its producer may have died and come again in another slot",
	)
}

func TestDisorderAndRepetition(t *testing.T) {
	for _, sizes := range []Sizes{{1, 1}, {8, 8}, {24, 24}, {300, 300}} {
		s := makeStream(1, sizes, 20)
		s[5], s[6] = s[6], s[5]
		r := check(true, s)
		require.EqualValues(t, 1, r.Disordered, "%+v", r)

		s = makeStream(1, sizes, 20)
		twice := append(append(append([]Message{}, s[:10]...), s[6:10]...), s[10:]...)
		require.EqualValues(t, 4, check(true, twice).Disordered)
		for i := 10; i < 14; i++ {
			twice[i].Again = true
		}
		r = check(true, twice)
		require.True(t, r.OK())
		require.EqualValues(t, 4, r.Repeated)
		require.EqualValues(t, 20, r.Verified)
	}
}

func TestProducersSideBySide(t *testing.T) {
	a, b := makeStream(1, Sizes{0, 99}, 200), makeStream(2, Sizes{24, 24}, 100)
	var mixed []Message
	for i, j := 0, 0; i < len(a) || j < len(b); {
		if j == len(b) || i < len(a) && rand.IntN(2) == 0 {
			mixed = append(mixed, a[i])
			i++
		} else {
			mixed = append(mixed, b[j])
			j++
		}
	}
	require.Equal(t, Report{Streams: 2, Finished: 2, Verified: 300}, check(true, mixed))
}

func TestSuccessorsInOneSlot(t *testing.T) {
	for _, sizes := range allSizes {
		a, b, c := makeStream(1, sizes, 30), makeStream(1, sizes, 20), makeStream(1, sizes, 10)
		r := check(true, a, b, c)
		require.Equal(t, Report{Streams: 3, Finished: 3, Verified: 60}, r, sizes.String())

		r = check(true, a[:15], b) // the first one was killed
		require.Equal(t, Report{Streams: 2, Finished: 1, Unfinished: 1, Verified: 35}, r, sizes.String())
	}
}

func TestSuccessorWithoutItsBeginning(t *testing.T) {
	a, b := makeStream(1, Sizes{64, 64}, 30), makeStream(1, Sizes{64, 64}, 20)
	require.EqualValues(t, 4, check(false, a, b[4:]).Lost, "it began while we were there")
	require.EqualValues(t, 4, check(false, a[:9], b[4:]).Lost)
}

func TestJoiningInTheMiddle(t *testing.T) {
	for _, sizes := range allSizes {
		t.Run(sizes.String(), func(t *testing.T) {
			s := makeStream(1, sizes, 600)[300:]
			require.False(t, check(true, s).OK() && sizes.Max > 1, "with nobody before us, 300 are lost")
			r := check(false, s)
			require.Equal(t, Report{Streams: 1, Joined: 1, Finished: 1, Verified: 300}, r)
		})
	}
}

// The message at which one joins may be too short to hold its number.
func TestJoiningAtAnEmptyMessage(t *testing.T) {
	s := makeStream(1, Sizes{64, 64}, 600)[300:]
	s[0].Data = nil
	require.Equal(t, Report{Streams: 1, Joined: 1, Finished: 1, Verified: 300}, check(false, s))
}

func TestAFloodOfProblemsStaysReadable(t *testing.T) {
	v := Verifier{}
	for i := range 1000 {
		v.Check(Message{Slot: 1, Data: fmt.Appendf(nil, "%040d", i)})
	}
	require.Len(t, v.Report().Problems, maxProblems)
	require.EqualValues(t, 1000, v.Report().Damaged)
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Sizes{"48": {48, 48}, "0": {0, 0}, "8-4096": {8, 4096}} {
		var s Sizes
		require.NoError(t, s.Set(text))
		require.Equal(t, want, s)
		require.Equal(t, text, s.String())
	}
	for _, text := range []string{"", "x", "-1", "9-8", "1-", "1-2-3"} {
		require.Error(t, new(Sizes).Set(text), text)
	}
}
