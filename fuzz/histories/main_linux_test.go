package main

import (
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/fuzz/histories/spec"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/mutants"
)

func TestMutantTable(t *testing.T) {
	var modes []string
	for _, k := range kinds {
		modes = append(modes, k.Name)
	}
	require.NoError(t, mutants.CheckTable("../..", "histories", modes, 4))
}

func TestUsage(t *testing.T) {
	for arguments, want := range map[string]string{
		"-n -1":         "histories: -n must not be negative\n",
		"-kills some":   "histories: -kills \"some\": want none, half or all\n",
		"-kind spmc":    "histories: -mode \"spmc\": want spsc, mpsc or all\n",
		"-kind both -x": "flag provided but not defined: -x\n",
	} {
		var said strings.Builder
		require.Equal(t, 2, program().Run(t.Context(), strings.Fields(arguments), io.Discard, &said))
		require.True(t, strings.HasPrefix(said.String(), want), said.String())
	}
}

// A history has as many clients, and messages, as have names.
func TestPlan(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 2000 {
		kills := i%4 < 2
		h := plan(uint64(i+1), rng, i%2 == 0, kills, "")
		require.Equal(t, kills, slices.ContainsFunc(h.members, func(m *member) bool { return !m.survives() }))
		require.LessOrEqual(t, len(h.members), min(spec.MaxClients, poolSize))
		for n, m := range h.members {
			require.Equal(t, n, m.Client)
			require.Less(t, m.Ops, spec.MaxIDs/spec.MaxClients)
			require.Less(t, m.KillAt, m.Ops)
		}
	}
}

// What is written of a message is read of it, and nothing else.
func TestMessages(t *testing.T) {
	b := make([]byte, spec.MaxSlots*largeSlot)
	for _, size := range []int{1, 2, 48, 1000, len(b)} {
		for _, id := range []uint8{1, 255} {
			write(b[:size], id)
			e := seen(b[:size])
			require.Equal(t, event{id: id, size: uint32(size), flags: hasMessage}, e)
			if size > 1 {
				b[size-1]++
				require.NotZero(t, seen(b[:size]).flags&isTorn)
			}
		}
	}
	require.NotZero(t, seen(nil).flags&isTorn)
}

// A journal with a call that was cut off, and one that handed out messages.
func TestHistory(t *testing.T) {
	j, err := openJournal(t.TempDir() + "/j")
	require.NoError(t, err)
	defer j.Close()
	for _, e := range []event{
		{what: began, op: uint8(spec.TryDrain), number: 2, at: 1},
		{what: handed, id: 3, size: 4, position: 5, index: 1, flags: hasMessage | isPlaced | isRedelivered, at: 2},
		{what: ended, answer: uint8(spec.OK), at: 3},
		{what: began, op: uint8(spec.TrySendBatch), id: 7, sizes: [mostOfBatch]uint32{8, 9}, at: 3},
		{what: ended, answer: uint8(spec.Full), number: 1, at: 3},
		{what: began, op: uint8(spec.ForceSkip), position: 6, at: 3},
		{what: ended, answer: uint8(spec.Busy), at: 3},
		{what: began, op: uint8(spec.Release), number: 1, at: 4},
	} {
		j.add(e)
	}
	m := &member{part: part{Client: 6, AtMostOnce: true}, worker: &worker{j: j}, dead: 9}
	h, err := (&cast{members: []*member{m}}).history()
	require.NoError(t, err)
	require.Equal(t, []spec.Call{
		{Client: 6, Op: spec.TryDrain, Max: 2, Begin: 1, End: 3, Answer: spec.OK,
			Got: []spec.Got{{ID: 3, Size: 4, At: 2, Placed: true, Position: 5, Index: 1, Redelivered: true}}},
		{Client: 6, Op: spec.TrySendBatch, ID: 7, Sizes: []int{8, 9}, N: 1, Begin: 3, End: 3, Answer: spec.Full},
		{Client: 6, Op: spec.ForceSkip, Position: 6, Begin: 3, End: 3, Answer: spec.Busy},
		{Client: 6, Op: spec.Release, Loan: 1, Begin: 4, End: 9},
	}, h.Calls)
	require.Equal(t, []spec.Death{{Client: 6, Last: 4, Dead: 9}}, h.Deaths)
	require.Equal(t, [spec.MaxClients]bool{6: true}, h.AtMostOnce)
	j.add(event{what: handed, flags: hasMessage | isTorn})
	_, err = (&cast{members: []*member{m}}).history()
	require.ErrorContains(t, err, "not what was sent")
}

func TestMain(m *testing.M) {
	labs.IfChild(runChild)
	os.Exit(m.Run())
}

// A few histories, with real processes.
func TestRun(t *testing.T) {
	var said strings.Builder
	status := program().Run(t.Context(), strings.Fields("-n 20 -kills all"), &said, &said)
	require.Equal(t, 0, status, said.String())
	require.Contains(t, said.String(), "0 violations")
}
