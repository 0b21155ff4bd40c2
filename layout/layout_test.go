package layout_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"hash/crc32"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

var update = flag.Bool("update", false, "rewrite the golden segment: only with a new layout version")

const (
	golden     = "testdata/segment-v4.0.bin"
	goldenSPSC = "testdata/segment-v4.0-spsc.bin"

	goldenBroadcast = "testdata/segment-v4.0-broadcast.bin"
)

// goldenConfig is as small as a segment gets, with every field set.
var goldenConfig = layout.Config{
	Kind: layout.MPSC, Slots: 8, SlotSize: 64, MaxMessage: 500, Participants: 3, Doorbell: layout.Futex,
	UUID:    [16]byte{0: 0x5e, 15: 0xed},
	Created: 1_700_000_000_000_000_000,
	Start:   1<<44 - 3,
}

// goldenSPSCConfig is the same with records in line.
var goldenSPSCConfig = layout.Config{
	Kind: layout.SPSC, Slots: 8, SlotSize: 64, MaxMessage: 400, Participants: 2, Doorbell: layout.Futex,
	UUID:    [16]byte{0: 0x5e, 15: 0xed},
	Created: 1_700_000_000_000_000_000,
	Start:   1<<44 - 24,
}

// goldenBroadcastConfig is the same of a broadcast ring.
var goldenBroadcastConfig = layout.Config{
	Kind: layout.Broadcast, Slots: 8, SlotSize: 64, MaxMessage: 100, Participants: 2, Doorbell: layout.Poll,
	UUID:    [16]byte{0: 0x5e, 15: 0xed},
	Created: 1_700_000_000_000_000_000,
	Start:   1<<44 - 24,
}

func format(t testing.TB, cfg layout.Config) []byte {
	size, err := cfg.Size()
	require.NoError(t, err)
	mem := shm.Heap(int(size)).Bytes()
	_, err = layout.Format(mem, cfg)
	require.NoError(t, err)
	return mem
}

// The bytes of version 4.0 are frozen.
func TestGolden(t *testing.T) {
	v, _ := frozen(t, golden, goldenConfig)
	require.Equal(t, goldenConfig.Start, v.Hot.ReadPos.Load())
	require.Equal(t, goldenConfig.Start, v.Hot.Tail.Load().Pos(goldenConfig.Start))
	require.Len(t, v.Descriptors, 8)
	require.Len(t, v.Payload, 8*64)
	require.Len(t, v.Participants, 3)
}

// frozen is a view of the segment in a file, which is what Format makes of the geometry.
func frozen(t *testing.T, file string, cfg layout.Config) (v *layout.View, mem []byte) {
	mem = format(t, cfg)
	if *update {
		require.NoError(t, os.WriteFile(file, mem, 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, mem),
		"Format writes other bytes than the golden segment: that is a new version, or a mistake")

	copy(mem, want)
	v, err = layout.Parse(mem)
	require.NoError(t, err)
	cfg.Start = 0 // not recorded
	require.Equal(t, cfg, v.Config)
	return v, mem
}

// The same of an SPSC ring.
func TestGoldenSPSC(t *testing.T) {
	v, mem := frozen(t, goldenSPSC, goldenSPSCConfig)
	require.Equal(t, goldenSPSCConfig.Start, v.Hot.ReadPos.Load())
	require.Equal(t, goldenSPSCConfig.Start, v.Hot.Written.Load())
	require.Equal(t, goldenSPSCConfig.Start, v.Participants[0].DrainPos.Load())
	require.Empty(t, v.Descriptors)
	require.Empty(t, v.Payload)
	require.Len(t, v.Area, 512)
	require.EqualValues(t, 2, binary.NativeEndian.Uint64(mem[88:]), "records in line")
	require.EqualValues(t, 8192, binary.NativeEndian.Uint64(mem[112:]))
	require.EqualValues(t, 8192, binary.NativeEndian.Uint64(mem[120:]))
	v.Hot.Written.Store(5)
	require.EqualValues(t, 5, binary.NativeEndian.Uint64(mem[136:]))
	v.Area[511] = 7
	require.EqualValues(t, 7, mem[8192+511])
}

// The same of a broadcast ring.
func TestGoldenBroadcast(t *testing.T) {
	v, mem := frozen(t, goldenBroadcast, goldenBroadcastConfig)
	start := goldenBroadcastConfig.Start
	require.Equal(t, start, v.Hot.ReadPos.Load())
	require.Equal(t, start, v.Hot.Written.Load())
	require.Equal(t, layout.Waypoint{Position: start}, v.Hot.Waypoints.Places[0])
	require.Len(t, v.Area, 1024, "four of the longest messages")
	require.Len(t, v.Kept, 32)
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(mem[at:]) }
	require.EqualValues(t, 2|4, u64(88), "records in line, which overwrite")
	require.EqualValues(t, 8192, u64(112))
	require.EqualValues(t, 8192, u64(120))
	part := int(start / (1024 / 32) % 32)
	at := 6912 + 24*part
	require.Equal(t, []uint64{start, 0, start + 1}, []uint64{u64(at), u64(at + 8), u64(at + 16)})
	require.Equal(t, &v.Kept[part], v.KeptOf(start))
	require.Equal(t, &v.Kept[part], v.KeptOf(start+31-start%32))
	require.NotEqual(t, &v.Kept[part], v.KeptOf(start+32))
	require.Equal(t, &v.Kept[part], v.KeptOf(start+1024))
	v.Kept[31].Check = 9
	require.EqualValues(t, 9, u64(6912+32*24-8))
}

// How large the area is that the records of an SPSC ring lie in.
func TestArea(t *testing.T) {
	for _, test := range []struct {
		slots, slotSize, most int
		want                  int64
	}{
		{8, 0, 48, 512},   // at least a line for each
		{8, 64, 432, 512}, // the longest message, what it takes besides, and a word behind it
		{8, 64, 433, 1024},
		{8, 64, 512, 1024},
		{16, 192, 64, 4096}, // a power of two
		{8192, 256, 64 << 10, 2 << 20},
		{1 << 12, 64, 4095 * 64, 1 << 19},
	} {
		cfg := layout.Config{Kind: layout.SPSC, Slots: test.slots, SlotSize: test.slotSize, MaxMessage: test.most,
			Participants: 2, Doorbell: layout.Futex}
		require.Equal(t, test.want, cfg.Area(), "%+v", test)
		size, err := cfg.Size()
		require.NoError(t, err)
		require.EqualValues(t, 8192+max(4096, test.want), size)
		cfg.Kind = layout.MPSC
		require.Zero(t, cfg.Area())
		cfg.Kind = layout.Broadcast
		require.GreaterOrEqual(t, cfg.Area(), max(test.want, 4*int64(test.most)))
		require.Less(t, cfg.Area(), 2*max(test.want, 4*int64(test.most)+4*80))
		require.Equal(t, min(4096, cfg.Area()/8), cfg.Step())
	}
}

// The word before a record of an SPSC ring.
func TestRecordWord(t *testing.T) {
	for _, align := range []uint64{layout.RecordAlign, layout.LineAlign} {
		for _, n := range []uint32{0, 1, 8, 56, 57, 1 << 20, math.MaxUint32} {
			w := layout.PackRecord(n, 0xabcd, align)
			require.True(t, w.IsSound())
			require.EqualValues(t, n, w.Length())
			require.EqualValues(t, 0xabcd, w.Kind())
			require.Equal(t, align-1, w.Mask())
			for _, pos := range []uint64{0, 8, 56, 1<<64 - 64} {
				next := w.Next(pos)
				require.GreaterOrEqual(t, next-pos, 8+uint64(n))
				require.Less(t, next-pos, 8+uint64(n)+align)
				require.Zero(t, next%align)
			}
			first := w | layout.RecordFirst
			require.True(t, first.IsSound())
			require.NotEqual(t, w.Like(), first.Like())
			require.Equal(t, w.Like(), first.Plain().Like())
			require.Equal(t, w.Like(), layout.PackRecord(n/2, 3, align).Like())
		}
	}
	good := layout.PackRecord(8, 0, layout.RecordAlign)
	for bit := range 64 {
		w := good ^ 1<<bit
		require.Equal(t, bit < 50, w.IsSound(), "bit %d", bit)
		next := w.Next(1 << 20)
		require.Zero(t, next%8, "bit %d", bit)
		require.Greater(t, next, uint64(1<<20), "bit %d", bit)
	}
	// Nothing but the lower six bits of a mask, whatever the word is.
	require.EqualValues(t, 63, layout.Record(math.MaxUint64).Mask())
	require.EqualValues(t, 7, layout.Record(0).Mask())
}

// A notification counts, and leaves alone what the consumer asks for.
func TestRung(t *testing.T) {
	const each, fences = layout.BellEach, layout.BellFences
	require.EqualValues(t, 4, layout.Rung(3))
	require.EqualValues(t, each|8, layout.Rung(each|5))
	require.EqualValues(t, each|fences|8, layout.Rung(each|fences|5))
	require.EqualValues(t, 0, layout.Rung(fences-1), "the count comes around")
	require.EqualValues(t, fences, layout.Rung(each-1))
	require.EqualValues(t, each|fences, layout.Rung(1<<32-1))
}

// The table in the package comment, once more by number: what other languages read.
func TestOffsets(t *testing.T) {
	mem := format(t, goldenConfig)
	u16 := func(at int) uint16 { return binary.NativeEndian.Uint16(mem[at:]) }
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(mem[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(mem[at:]) }
	require.Equal(t, layout.Magic, u64(0))
	require.Equal(t, layout.EndianOK, u32(8))
	require.Equal(t, layout.Major, u16(12))
	require.Equal(t, layout.Minor, u16(14))
	require.EqualValues(t, 8192, u32(16))
	require.EqualValues(t, layout.MPSC, u32(20))
	require.Equal(t, goldenConfig.UUID[:], mem[24:40])
	require.EqualValues(t, len(mem), u64(40))
	require.EqualValues(t, goldenConfig.Created, u64(48))
	table := crc32.MakeTable(crc32.Castagnoli)
	require.Equal(t, crc32.Update(crc32.Checksum(mem[:56], table), table, mem[64:128]), u32(56))
	require.EqualValues(t, 8, u64(64))
	require.EqualValues(t, 64, u32(72))
	require.EqualValues(t, 3, u32(76))
	require.EqualValues(t, 500, u64(80))
	require.EqualValues(t, layout.Futex, u32(104))
	require.EqualValues(t, 8192, u64(112))
	require.EqualValues(t, 12288, u64(120))
	require.EqualValues(t, layout.PackTail(1<<44-3, 0, 0), u64(128))
	require.EqualValues(t, uint64(1<<44-3), u64(256))

	v, err := layout.Parse(mem)
	require.NoError(t, err)
	v.Hot.DataBell.Store(0xD)
	v.Hot.SpaceBell.Store(0x5)
	v.Participants[2].State.Store(7)
	v.Participants[2].Counters[layout.Counters-1].Store(9)
	v.Participants[2].Since.Store(20)
	v.Participants[2].Progress.Store(21)
	v.Participants[2].Label.Store("label")
	v.Hot.Stamp.Store(22)
	v.Hot.Queueing[len(layout.QueueingBounds)].Store(23)
	v.Hot.News.Store(14)
	v.Participants[2].Told.Store(15)
	v.Participants[0].Over.Store(16)
	last := &v.Participants[2].Fates[layout.Fates-1]
	last.Fate.Store(17)
	last.Pos.Store(18)
	last.PID.Store(19)
	v.Descriptors[7].Ctl.Store(11)
	v.Descriptors[7].Inline[47] = 12
	v.Payload[8*64-1] = 13
	require.EqualValues(t, 0xD, u32(384))
	require.EqualValues(t, 0x5, u32(512))
	require.EqualValues(t, 14, u64(664))
	require.EqualValues(t, 7, u32(768+2*512))
	require.EqualValues(t, 9, u64(768+2*512+200-8))
	require.EqualValues(t, 21, u64(768+2*512+200))
	require.Equal(t, "label", string(mem[768+2*512+208:][:5]))
	require.EqualValues(t, 22, u64(680))
	require.EqualValues(t, 23, u64(768-8))
	require.EqualValues(t, 20, u64(768+2*512+248))
	require.EqualValues(t, 15, u32(768+2*512+256))
	require.EqualValues(t, 16, u64(768+264))
	require.EqualValues(t, 17, u64(768+3*512-24))
	require.EqualValues(t, 18, u64(768+3*512-16))
	require.EqualValues(t, 19, u32(768+3*512-8))
	require.EqualValues(t, 11, u64(8192+7*64))
	require.EqualValues(t, 12, mem[8192+8*64-1])
	require.EqualValues(t, 13, mem[12288+8*64-1])
}

func TestOffsetsOfEvents(t *testing.T) {
	mem := format(t, goldenConfig)
	u32 := func(at int) uint32 { return binary.NativeEndian.Uint32(mem[at:]) }
	u64 := func(at int) uint64 { return binary.NativeEndian.Uint64(mem[at:]) }
	v, err := layout.Parse(mem)
	require.NoError(t, err)
	v.Hot.Events.Store(22)
	event := &v.Events[layout.Events-1]
	event.Seq.Store(23)
	event.Time.Store(24)
	event.What.Store(layout.PackEvent(layout.EventDied, 2, layout.FateDied, 25))
	event.Pos.Store(26)
	event.PID.Store(27)
	event.By.Store(28)
	require.EqualValues(t, 22, u64(672))
	at := 768 + 3*512 + 127*40
	require.EqualValues(t, 23, u64(at))
	require.EqualValues(t, 24, u64(at+8))
	require.Equal(t, uint64(6|2<<8|3<<16|25<<32), u64(at+16))
	require.EqualValues(t, 26, u64(at+24))
	require.EqualValues(t, 27, u32(at+32))
	require.EqualValues(t, 28, u32(at+36))
}

func TestConfigLimits(t *testing.T) {
	ok := layout.Config{Kind: layout.SPSC, Slots: 8, Participants: 2, Doorbell: layout.Futex}
	size, err := ok.Size()
	require.NoError(t, err)
	require.EqualValues(t, 12288, size, "header and area")
	for field, bad := range map[string]func(*layout.Config){
		"kind":          func(c *layout.Config) { c.Kind = 0 },
		"slots":         func(c *layout.Config) { c.Slots = 4 },
		"slots 12":      func(c *layout.Config) { c.Slots = 12 },
		"slots 0":       func(c *layout.Config) { c.Slots = 0 },
		"slots -8":      func(c *layout.Config) { c.Slots = -8 },
		"slot size":     func(c *layout.Config) { c.SlotSize = 65 },
		"slot size -64": func(c *layout.Config) { c.SlotSize = -64 },
		"slot size big": func(c *layout.Config) { c.SlotSize = layout.MaxSlotSize + 64 },
		"participants":  func(c *layout.Config) { c.Participants = 1 },
		"participants+": func(c *layout.Config) { c.Participants = 256 },
		"doorbell":      func(c *layout.Config) { c.Doorbell = 5 },
		"max message":   func(c *layout.Config) { c.MaxMessage = 49 },
		"max message -": func(c *layout.Config) { c.MaxMessage = -1 },
		"size":          func(c *layout.Config) { c.Slots = layout.MaxSlots; c.SlotSize = layout.MaxSlotSize },
	} {
		cfg := ok
		bad(&cfg)
		_, err := cfg.Size()
		var fe *layout.FieldError
		require.ErrorAs(t, err, &fe, field)
		require.ErrorIs(t, err, layout.ErrConfig)
		require.Contains(t, field, fe.Field)
	}
	for _, cfg := range []layout.Config{
		{Slots: layout.MaxSlots}, {SlotSize: 256, MaxMessage: 4095 * 256, Slots: 8192}, {Slots: 16, SlotSize: 64,
			MaxMessage: 1024},
	} {
		cfg.Kind, cfg.Participants, cfg.Doorbell = layout.MPSC, layout.MaxParticipants, layout.Futex
		if math.MaxInt == math.MaxInt64 {
			_, err := cfg.Size()
			require.NoError(t, err)
		}
	}
	_, err = layout.Format(make([]byte, 100), ok)
	require.ErrorIs(t, err, layout.ErrConfig)
}

// put writes a value into the bytes of a header.
func put(at int, v any) func([]byte) {
	return func(b []byte) {
		buf, _ := binary.Append(nil, binary.NativeEndian, v)
		copy(b[at:], buf)
	}
}

var refused = []struct {
	field string
	want  error
	sum   bool // with a checksum that fits, as only malice makes it
	harm  func([]byte)
}{
	{"magic", layout.ErrFormat, false, put(0, layout.Magic+1)},
	{"endian mark", layout.ErrVersion, false, put(8, uint32(0x04030201))},
	{"version", layout.ErrVersion, false, put(12, uint16(1))},
	{"feature bits", layout.ErrVersion, true, put(88, uint64(1<<63))},
	{"checksum", layout.ErrCorrupt, false, put(64, uint64(16))},
	{"checksum", layout.ErrCorrupt, false, put(24, byte(1))},
	{"kind", layout.ErrCorrupt, true, put(20, uint32(4))},
	{"slots", layout.ErrCorrupt, true, put(64, uint64(12))},
	{"slots", layout.ErrCorrupt, true, put(64, uint64(1<<63+8))},
	{"slots", layout.ErrCorrupt, true, put(64, uint64(0))},
	{"slot size", layout.ErrCorrupt, true, put(72, uint32(60))},
	{"slot size", layout.ErrCorrupt, true, put(72, uint32(math.MaxUint32))},
	{"participants", layout.ErrCorrupt, true, put(76, uint32(1))},
	{"participants", layout.ErrCorrupt, true, put(76, uint32(math.MaxUint32))},
	{"max message", layout.ErrCorrupt, true, put(80, uint64(513))},
	{"max message", layout.ErrCorrupt, true, put(80, uint64(math.MaxUint64))},
	{"doorbell", layout.ErrCorrupt, true, put(104, uint32(0))},
	{"descriptor offset", layout.ErrCorrupt, true, put(112, uint64(0))},
	{"header size", layout.ErrCorrupt, true, put(16, uint32(0))},
	{"payload offset", layout.ErrCorrupt, true, put(120, uint64(1<<40))},
	{"size", layout.ErrCorrupt, true, put(40, uint64(4096))},
	{"file size", layout.ErrCorrupt, true, put(64, uint64(16))}, // consistent, but longer than the file
}

// Each wrong field is refused by its name, and with the error that tells what to do
// about it.
func TestParseRefuses(t *testing.T) {
	good := format(t, goldenConfig)
	for _, test := range refused {
		mem := shm.Heap(len(good)).Bytes()
		copy(mem, good)
		test.harm(mem)
		if test.field == "file size" {
			copy(mem, format(t, func() layout.Config { c := goldenConfig; c.SlotSize = 1024; return c }())[:128])
		}
		if test.sum {
			table := crc32.MakeTable(crc32.Castagnoli)
			put(56, crc32.Update(crc32.Checksum(mem[:56], table), table, mem[64:128]))(mem)
		}
		_, err := layout.Parse(mem)
		var fe *layout.FieldError
		require.ErrorAs(t, err, &fe, test.field)
		require.ErrorIs(t, err, test.want, test.field)
		require.Equal(t, test.field, fe.Field)
		require.Contains(t, err.Error(), fe.Got)
		require.Contains(t, err.Error(), fe.Want)
	}
	for _, n := range []int{1, 767} {
		_, err := layout.Parse(good[:n])
		require.ErrorIs(t, err, layout.ErrFormat)
	}
	_, err := layout.Parse(good[:len(good)-1])
	require.ErrorIs(t, err, layout.ErrCorrupt)

	// A minor version and a compatible feature that we do not know are welcome.
	mem := shm.Heap(len(good)).Bytes()
	copy(mem, good)
	put(14, uint16(9))(mem)
	put(96, uint64(1<<40))(mem)
	table := crc32.MakeTable(crc32.Castagnoli)
	put(56, crc32.Update(crc32.Checksum(mem[:56], table), table, mem[64:128]))(mem)
	_, err = layout.Parse(mem)
	require.NoError(t, err)

	// Records lie in line on SPSC and broadcast rings and on no others, and overwrite each other on the latter.
	for _, cfg := range []layout.Config{goldenConfig, goldenSPSCConfig, goldenBroadcastConfig} {
		for _, bit := range []uint64{layout.InLine, layout.Overwrites} {
			mem := format(t, cfg)
			mem[88] ^= byte(bit)
			put(56, crc32.Update(crc32.Checksum(mem[:56], table), table, mem[64:128]))(mem)
			_, err = layout.Parse(mem)
			require.ErrorIs(t, err, layout.ErrVersion)
			wrong := cfg
			wrong.Incompat = bit
			_, err = wrong.Size()
			require.ErrorIs(t, err, layout.ErrConfig, "that is not the caller's to say")
		}
	}
	require.Panics(t, func() { layout.Parse(mem[1:]) }, "not aligned")
}

func TestWords(t *testing.T) {
	for _, pos := range []uint64{0, 1, 1<<44 - 1, 1 << 44, 1<<63 + 5, math.MaxUint64} {
		for _, back := range []uint64{0, 1, 1 << 20, 1<<44 - 1} {
			w := layout.PackTail(pos, layout.MaxSlotsPerMessage, 254)
			require.Equal(t, pos, w.Pos(pos-back), "from %d before", back)
			require.EqualValues(t, layout.MaxSlotsPerMessage, w.Slots())
			require.EqualValues(t, 254, w.Owner())
		}
	}
	for _, lap := range []uint64{0, 1, 1<<42 - 1} {
		c := layout.PackCtl(lap, 4095, 255, layout.Committed)
		require.Equal(t, lap, c.Lap())
		require.EqualValues(t, 4095, c.Slots())
		require.EqualValues(t, 255, c.Owner())
		require.Equal(t, layout.Committed, c.State())
		require.True(t, c.IsFinished(lap))
		require.False(t, c.IsFinished(lap+1))
		require.True(t, layout.PackCtl(lap, 1, 1, layout.Claimed).IsRecorded(lap))
		require.False(t, layout.PackCtl(lap, 1, 1, layout.Claimed).IsFinished(lap))
		require.False(t, layout.PackCtl(lap, 0, 1, layout.None).IsRecorded(lap))
	}
	// A later lap or a later state is a larger word: what helpers' CAS rely on.
	require.Less(t, layout.PackCtl(5, 1, 1, layout.Claimed), layout.PackCtl(5, 1, 1, layout.Committed))
	require.Less(t, layout.PackCtl(5, 4095, 255, layout.Discarded), layout.PackCtl(6, 0, 0, layout.None))
	require.EqualValues(t, 1, layout.LapOf(7, 3))
	require.EqualValues(t, 2, layout.LapOf(8, 3))
	require.EqualValues(t, 0, layout.LapOf((1<<42-1)*8, 3), "comes around, to the lap that zeroed memory carries")
	n, kind, flags := layout.UnpackMeta(layout.PackMeta(math.MaxUint32, 3, 0x80))
	require.EqualValues(t, uint32(math.MaxUint32), n)
	require.EqualValues(t, 3, kind)
	require.EqualValues(t, 0x80, flags)
}

// Reading and formatting a segment in the smallest number of lines.
func ExampleFormat() {
	cfg := layout.Config{Kind: layout.SPSC, Slots: 8, SlotSize: 64, MaxMessage: 512, Participants: 2,
		Doorbell: layout.Futex}
	size, _ := cfg.Size()
	mem := shm.Heap(int(size)).Bytes()
	layout.Format(mem, cfg)
	view, err := layout.Parse(mem)
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(view.Config.Kind.String())
	// Output: spsc
}

// A fate word tells each of the last streams, and the worst of those before.
func TestFateWord(t *testing.T) {
	kinds := []layout.Fate{layout.FateEnded, layout.FateDied, layout.FateLeft, layout.FateFailed, layout.FateEnded}
	var w layout.FateWord
	for n := range uint32(40) {
		epoch := n + 1
		w = w.With(epoch, kinds[n%5])
		require.Equal(t, epoch, w.Upto())
		for e := uint32(1); e <= epoch; e++ {
			f, upto := w.Of(e)
			if epoch-e < layout.FatesTogether {
				require.Equal(t, kinds[(e-1)%5], f)
				require.Equal(t, e, upto)
				continue
			}
			worst := layout.FateEnded
			if epoch-layout.FatesTogether >= 2 {
				worst = layout.FateDied
			}
			require.Equal(t, worst, f)
			require.Equal(t, epoch-layout.FatesTogether, upto)
		}
	}
}

func TestOver(t *testing.T) {
	o := layout.PackOver(3, 2, 254, 0x12345678)
	require.EqualValues(t, 3, o.Streams())
	require.EqualValues(t, 2, o.Ended())
	producer, epoch := o.Newest()
	require.EqualValues(t, 254, producer)
	require.EqualValues(t, 0x5678, epoch)
	o = layout.PackOver(1<<40, 1<<40, 1, 2)
	require.EqualValues(t, 1<<20-1, o.Streams())
	require.EqualValues(t, 1<<20-1, o.Ended())
}

// A label is cut where a character ends, and what is read of one can be printed.
func TestLabels(t *testing.T) {
	var l layout.Label
	for text, want := range map[string]string{
		"": "", "a": "a", "äöü": "äöü", strings.Repeat("x", 32): strings.Repeat("x", 32),
		strings.Repeat("x", 33): strings.Repeat("x", 32), strings.Repeat("x", 31) + "ä": strings.Repeat("x", 31),
		strings.Repeat("€", 11): strings.Repeat("€", 10), "a\x1b[2Jb": "a?[2Jb", "\xff\xfe": "??", "a\x00b": "a",
		strings.Repeat("\x80", 40): "",
	} {
		l.Store("what was there before, and is longer")
		l.Store(text)
		require.Equal(t, want, l.Load(), "%q", text)
	}
}

// A stamp is of one record and one time, across the turns of both.
func TestStamps(t *testing.T) {
	for _, end := range []uint64{0, 1, 1<<29 - 1, 1 << 29, 1<<29 + 1, 1<<44 + 3} {
		for _, now := range []uint64{0, 255, 256, 1 << 41, 1<<42 - 1, 1 << 42, 1<<63 + 5} {
			s := layout.PackStamp(end, now)
			require.True(t, s.Present())
			for _, by := range []int{0, 1, -1, 1 << 20, -1 << 20} {
				require.Equal(t, by, s.Behind(end+uint64(by)))
			}
			require.LessOrEqual(t, s.Age(now), uint64(layout.StampUnit))
			require.InDelta(t, 1e9, float64(s.Age(now+1e9)), layout.StampUnit)
			require.Zero(t, s.Age(now-1e9), "a clock that goes backwards")
		}
	}
	require.False(t, layout.Stamp(0).Present())
}
