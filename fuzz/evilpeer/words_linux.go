package main

import (
	"hash/crc32"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// Strikes at words that every ring has, however its records lie.

// spot is a word of the segment.
type spot struct {
	at   uint64
	wide bool // 64 bits
}

// hotSpots are the words that move while messages flow.
var hotSpots = []spot{
	{tailAt, true}, {tailAt, true}, {writtenAt, true}, {readPosAt, true}, {readPosAt, true},
	{dataBellAt, false}, {spaceBellAt, false},
	{waypointsAt, true}, {waypointsAt + 8, true}, {waypointsAt + 16, true}, {waypointsAt + 24, true},
	{waypointsAt + 32, true},
	{priorityAt, true}, {setAt, true}, {keyAt, false}, {namespaceAt, true}, {newsAt, true}, {eventsAt, true},
}

// memberSpots are the words of a participant, in it: state, epoch, role, PID, …, DrainPos, a counter,
// Told, CPU, Over, and the first two fates.
var memberSpots = []spot{
	{
		0,
		false,
	},
	{0, false},
	{4, false},
	{8, false},
	{12, false},
	{16, true},
	{24, true},
	{32, true},
	{40, true},
	{40, true},
	{48, true},
	{248, true},
	{256, false},
	{256, false},
	{260, false},
	{264, true},
	{272, true},
	{280, true},
	{288, false},
	{296, true},
	{304, true},
}

func (t *target) load(s spot) uint64 {
	if s.wide {
		return t.get(s.at)
	}
	return t.get32(s.at)
}

func (t *target) store(s spot, v uint64) {
	if s.wide {
		t.put(s.at, v)
	} else {
		t.put32(s.at, v)
	}
}

func (t *target) hotSpot() spot { return hotSpots[t.chance.IntN(len(hotSpots))] }

func (t *target) memberSpot() spot {
	s := memberSpots[t.chance.IntN(len(memberSpots))]
	s.at += membersAt + memberSize*uint64(t.chance.IntN(t.members))
	return s
}

// seal makes the checksum of a header right.
func seal(head []byte) {
	table := crc32.MakeTable(crc32.Castagnoli)
	native.PutUint32(
		head[checksumAt:],
		crc32.Update(crc32.Checksum(head[:checksumAt], table), table, head[64:layout.FixedSize]),
	)
}

// strikeWords writes garbage into the words that nobody changes, and what was there before.
func strikeWords(t *target) {
	if t.chance.IntN(3) == 0 {
		copy(t.mem[:layout.FixedSize], t.head[:])
		return
	}
	at := uint64(8 * t.chance.IntN(layout.FixedSize/8))
	if was := t.get(at); t.chance.IntN(2) == 0 {
		t.put(at, t.edge(was, was^1))
	} else {
		half := at + 4*uint64(t.chance.IntN(2))
		t.put32(half, t.edge(t.get32(half), uint64(t.chance.IntN(300))))
	}
	if t.chance.IntN(2) == 0 {
		seal(t.mem)
		t.forged(t.mem)
	}
}

// strikeHot writes into one of the words that move.
func strikeHot(t *target) {
	s := t.hotSpot()
	read, tail := t.positions()
	near := read + t.chance.Uint64N(2*t.span()) - t.span()
	if s.at == tailAt {
		near = uint64(
			layout.PackTail(
				tail+t.chance.Uint64N(8)-4,
				t.chance.Uint64N(t.slots+2),
				uint8(t.chance.IntN(t.members+1)),
			),
		)
	}
	t.store(s, t.edge(t.load(s), near))
}

// strikeMembers writes into the entries of those who take part.
func strikeMembers(t *target) {
	s := t.memberSpot()
	read, tail := t.positions()
	near := uint64(t.chance.IntN(6))
	switch (s.at - membersAt) % memberSize {
	case 40, 280, 304: // positions
		near = read + t.chance.Uint64N(2*t.span()) - t.chance.Uint64N(t.span())
		if t.chance.IntN(2) == 0 {
			near = tail
		}
	case 4, 256: // epochs
		near = t.load(s) + t.chance.Uint64N(40) - 20
	}
	t.store(s, t.edge(t.load(s), near))
}

// leftWords and mixedWords are the words of fates but for the stream: so many in a row, each of which
// left (nobody is told of that: the consumer looks for the next), or all ends that there are.
var leftWords, mixedWords = func() (left, all layout.FateWord) {
	for i := range uint32(2 * layout.FatesTogether) { // those that were before, too
		left, all = left.With(0, layout.FateLeft), all.With(0, layout.Fate(i%4))
	}
	return left, all
}()

// strikeFates makes streams end, one behind the other, as fast as they can be told, or faster.
func strikeFates(t *target) {
	m := membersAt + memberSize*(1+t.chance.Uint64N(uint64(t.members-1)))
	read := t.get(readPosAt)
	epoch := t.epoch
	if epoch == 0 {
		epoch = uint32(t.get32(m + 256))
	}
	words, endless := leftWords, t.stat.Ino%2 == 1
	if !endless && t.chance.IntN(4) == 0 {
		words = mixedWords
	}
	for i := range uint64(layout.Fates) {
		at := m + 272 + 24*i
		t.put(at+8, read-i%2)
		t.put(at, uint64(words)|uint64(epoch))
		t.put32(m+4, uint64(epoch))
		t.put(newsAt, t.get(newsAt)+1)
		epoch += layout.FatesTogether
	}
	t.epoch = epoch
	if !endless && t.chance.IntN(64) == 0 {
		t.put32(m+256, t.edge(uint64(epoch), uint64(epoch)+1))
	}
}

// written is what a word was once.
type written struct {
	spot
	was uint64
}

// strikeReplay writes back what was there before.
func strikeReplay(t *target) {
	const kept = 512
	var s spot
	switch t.chance.IntN(4) {
	case 0:
		s = t.hotSpot()
	case 1:
		s = t.memberSpot()
	default:
		s = forgeries[t.kind].spot(t)
	}
	w := written{s, t.load(s)}
	if len(t.past) < kept {
		t.past = append(t.past, w)
		return
	}
	at := t.chance.IntN(kept)
	old := t.past[at]
	t.past[at] = w
	if t.chance.IntN(2) == 0 {
		t.store(old.spot, old.was)
	}
}

// strikeSwap puts the header of another ring over that of this one, which is as valid, and back.
func strikeSwap(t *target) {
	if t.others == nil {
		t.others = append(t.others, t.head[:])
		t.others = append(t.others, t.geometries()...)
	}
	copy(t.mem[:layout.FixedSize], t.others[t.chance.IntN(len(t.others))])
	if t.chance.IntN(2) == 0 {
		copy(t.mem[:layout.FixedSize], t.head[:])
	}
	t.forged(t.mem)
}

// geometries are headers of rings that are as long as this one, or nearly, with its UUID or another.
func (t *target) geometries() (heads [][]byte) {
	is := t.view.Config
	for _, change := range []func(c *layout.Config){
		func(c *layout.Config) { c.Slots, c.SlotSize = c.Slots/2, c.SlotSize*2 },
		func(c *layout.Config) { c.Slots, c.SlotSize = c.Slots*2, c.SlotSize/128*64 },
		func(c *layout.Config) { c.Slots *= 16 }, // what it says is longer than the file
		func(c *layout.Config) { c.SlotSize *= 32 },
		func(c *layout.Config) { c.MaxMessage = 1 },
		func(c *layout.Config) { c.Kind = layout.SPSC + c.Kind%3; c.Participants = 2 },
		func(c *layout.Config) { c.Kind = layout.SPSC + (c.Kind+1)%3; c.Participants = 2 },
		func(c *layout.Config) { c.Doorbell = layout.Futex + (c.Doorbell+1)%3 },
		func(c *layout.Config) { c.Incompat ^= layout.FlockLocks },
		func(c *layout.Config) { c.UUID[3]++ },
		func(c *layout.Config) { c.Participants = max(2, c.Participants/2) },
	} {
		c := is
		change(&c)
		c.MaxMessage = min(c.MaxMessage, c.Capacity())
		size, err := c.Size()
		if err != nil {
			continue
		}
		mem := shm.Heap(int(size)).Bytes()
		if _, err := layout.Format(mem, c); err == nil {
			heads = append(heads, append([]byte(nil), mem[:layout.FixedSize]...))
		}
	}
	return heads
}

// strikeBells wakes for nothing, however one sleeps, and flips what the bell words say.
func strikeBells(t *target) {
	at, word := uint64(dataBellAt), &t.view.Hot.DataBell
	if t.chance.IntN(2) == 0 {
		at, word = spaceBellAt, &t.view.Hot.SpaceBell
	}
	switch t.chance.IntN(6) {
	case 0:
		word.Add(layout.BellCount)
	case 1:
		t.put32(at, t.edge(t.get32(at), t.get32(at)^1<<t.chance.IntN(2)))
	case 2:
		word.And(^layout.BellSleeping)
	case 3:
		word.Or(layout.BellSleeping)
	case 4:
		_, _ = unix.Pread(t.fd, make([]byte, 1), 0) // who is parked
	}
	_ = futex.WakeAll(word)
}

// strikeTurn claims in the names of others, of the dead and of nobody, and never lets go of a turn.
func strikeTurn(t *target) {
	read, tail := t.positions()
	owner := uint8(t.chance.IntN(t.members + 2))
	k := 1 + t.chance.Uint64N(t.slots)
	switch t.chance.IntN(5) {
	case 0, 1:
		t.put(priorityAt, uint64(layout.PackPriority(t.chance.Uint64(), k, owner)))
		t.pause(time.Millisecond) // so that it is a new turn each time
	case 2:
		t.put(tailAt, uint64(layout.PackTail(tail+min(k, read+t.slots-tail), min(k, read+t.slots-tail), owner)))
	case 3:
		t.put(tailAt, uint64(layout.PackTail(tail, k, owner)))
	case 4:
		t.put(tailAt, uint64(layout.PackTail(read+t.chance.Uint64N(t.slots+1), k, owner)))
	}
}
