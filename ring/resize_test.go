package ring_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
	"github.com/shmring/shmring/shm"
)

// copied is another ring with the same bytes.
func copied(t *testing.T, s *shm.Segment) *shm.Segment {
	c := shm.Heap(len(s.Bytes()))
	copy(c.Bytes(), s.Bytes())
	return c
}

// resized is what a ring that nobody uses becomes, and the plan of it.
func resized(t *testing.T, s *shm.Segment, cfg layout.Config) (*shm.Segment, *ring.Move, error) {
	v, err := layout.Parse(s.Bytes())
	require.NoError(t, err)
	m, err := ring.PlanMove(v, cfg)
	if err != nil {
		return nil, nil, err
	}
	size, err := cfg.Size()
	require.NoError(t, err)
	to := shm.Heap(int(size))
	w, err := layout.Format(to.Bytes(), cfg)
	require.NoError(t, err)
	require.NoError(t, m.Into(t.Context(), w, true))
	return to, m, nil
}

// opened are the handles of a process on a ring.
func opened(t *testing.T, s *shm.Segment, cfg ring.Config) (*layout.View, ring.Config) {
	h, err := s.Reopen()
	require.NoError(t, err)
	t.Cleanup(func() { h.Close() })
	v, err := layout.Parse(h.Bytes())
	require.NoError(t, err)
	cfg.Locks = h
	return v, cfg
}

// heard is something that a consumer got.
type heard struct {
	what   string // a message with all that is known of it, but its position; or an end
	end    bool
	stream string
	pos    uint64 // of a message, or an end that is told by itself
	again  bool
}

// hearAll consumes all there is.
func hearAll(t *testing.T, s *shm.Segment, cfg ring.Config) (list []heard, drops uint64) {
	cfg.OnStreamEnd = func(e ring.StreamEnd) {
		list = append(list, heard{what: fmt.Sprintf("%v of %d.%d (%d)", e.Fate, e.Producer, e.Epoch, e.Streams), end: true,
			pos: e.Position, stream: fmt.Sprintf("%d.%d", e.Producer, e.Epoch)})
	}
	v, cfg := opened(t, s, cfg)
	c, err := ring.NewConsumer(v, cfg)
	require.NoError(t, err)
	for {
		m, err := c.TryNext()
		switch {
		case err == nil:
			list = append(list, heard{
				what: fmt.Sprintf("%x kind %d from %d again %v index %d", m.Bytes(), m.Kind(), m.Producer(), m.Redelivered(),
					m.Position().Index),
				stream: string(m.Bytes()[:min(len(m.Bytes()), 4)]), pos: m.Position().Record, again: m.Redelivered(),
			})
			m.Release()
		case err == io.EOF:
			list = append(list, heard{what: "EOF", end: true})
		case errors.Is(err, ring.ErrPeerDead), errors.Is(err, ring.ErrFailed):
			list = append(list, heard{what: err.Error(), end: true})
		default:
			require.Equal(t, ring.ErrEmpty, err)
			drops = c.Stats().Dropped
			c.Close()
			ring.Detach(v, c.Attachment(), 0, ring.Config{})
			require.NoError(t, cfg.Locks.(*shm.Segment).Close())
			return list, drops
		}
	}
}

// livedRing lets a ring live for a while, and leaves it to nobody, repaired.
type livedRing struct {
	*rig
	rng   *rand.Rand
	alive []*producer
	c     *consumer
	n     uint32
}

func (l *livedRing) text(p *producer) []byte {
	sizes := []int{4, 4, 5, 40, 48, 49, 64, 65, 130, 200, l.cfg.MaxMessage}
	n := min(sizes[l.rng.IntN(len(sizes))], l.cfg.MaxMessage)
	if l.rng.IntN(8) == 0 {
		return nil
	}
	l.n++
	b := message(1, uint64(l.n), max(n, 4))
	copy(b, fmt.Sprintf("%d.%d", p.Attachment().Index, p.Attachment().Epoch))
	return b
}

func (l *livedRing) step() {
	if l.rng.IntN(4) == 0 || len(l.alive) == 0 {
		l.attach()
		return
	}
	i := l.rng.IntN(len(l.alive))
	p := l.alive[i]
	switch l.rng.IntN(16) {
	case 0:
		_, _ = p.TrySendBatch([][]byte{l.text(p), nil, l.text(p)})
	case 1:
		if c, err := p.TryClaim(l.rng.IntN(l.cfg.MaxMessage + 1)); err == nil {
			c.Abort()
		}
	case 2: // killed with a claim
		_, _ = p.TryClaim(l.rng.IntN(l.cfg.MaxMessage + 1))
		p.die()
		l.alive = slices.Delete(l.alive, i, i+1)
	case 3:
		_ = p.CloseSend()
	case 4:
		_ = p.FailSend()
	case 5:
		p.leave()
		l.alive = slices.Delete(l.alive, i, i+1)
	case 6:
		p.die()
		l.alive = slices.Delete(l.alive, i, i+1)
	case 7, 8:
		l.consume()
	default:
		_ = p.TrySendKind(l.text(p), uint16(l.rng.IntN(3)))
	}
}

func (l *livedRing) attach() {
	if len(l.alive) >= l.cfg.Participants-1 {
		return
	}
	h, v, cfg := l.process()
	p, err := ring.NewProducer(v, cfg)
	if err != nil { // quarantine
		h.Close()
		return
	}
	l.alive = append(l.alive, &producer{p, h, v})
}

func (l *livedRing) consume() {
	if l.c == nil {
		l.c = l.consumer()
	}
	for range l.rng.IntN(12) {
		m, err := l.c.TryNext()
		if err == nil && l.rng.IntN(8) > 0 {
			m.Release()
		}
		if err == ring.ErrEmpty {
			_ = l.c.Check()
		}
	}
	switch l.rng.IntN(3) {
	case 0:
		l.c.die()
		l.c = nil
	case 1:
		l.c.leave()
		l.c = nil
	}
}

func (l *livedRing) end() {
	for _, p := range l.alive {
		if l.rng.IntN(2) == 0 {
			p.die()
		} else {
			p.leave()
		}
	}
	if l.c != nil {
		l.c.die()
	}
	h, v, cfg := l.process()
	_, err := ring.Repair(v, cfg.Locks)
	require.NoError(l.t, err)
	h.Close()
}

func pick[T any](rng *rand.Rand, of ...T) T { return of[rng.IntN(len(of))] }

// Whoever consumes a ring that was made anew gets what it would have got from the old one:
// random histories, random geometries.
func TestResizedRingTellsTheSame(t *testing.T) {
	const rounds = 3000
	var fits, misfits, renamed, ends, repeats int
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 7))
		cfg := layout.Config{Kind: pick(rng, layout.SPSC, layout.MPSC), Slots: pick(rng, 8, 16, 32, 64),
			SlotSize: pick(rng, 64, 128, 256)}
		if cfg.Kind == layout.MPSC {
			cfg.Participants = 2 + rng.IntN(5)
		}
		cfg.Start = pick[uint64](rng, 0, 5, 1<<44-3, 1<<63+11)
		l := &livedRing{rig: newRig(t, memories[0], cfg), rng: rng}
		for range rng.IntN(120) {
			l.step()
		}
		l.end()
		to := l.cfg
		to.Start = 0
		to.Slots, to.SlotSize = pick(rng, 8, 16, 32, 64, 256, 1024), pick(rng, 64, 128, 256, 1024)
		if to.MaxMessage > to.Capacity() || rng.IntN(3) == 0 {
			to.MaxMessage = to.Capacity()
		}
		if to.Kind == layout.MPSC {
			to.Participants = 2 + rng.IntN(7)
		}
		s, m, err := resized(t, l.seg, to)
		if misfit, ok := err.(*ring.MisfitError); ok {
			misfits++
			justified(t, l.seg, to, misfit)
			continue
		}
		require.NoError(t, err)
		fits++
		handles := ring.Config{AtMostOnce: rng.IntN(4) == 0, ExpectedProducers: rng.IntN(4)}
		before := slices.Clone(l.seg.Bytes())
		want, wantDrops := hearAll(t, copied(t, l.seg), handles)
		require.Equal(t, before, l.seg.Bytes())
		got, drops := hearAll(t, s, handles)
		why := fmt.Sprintf("seed %d: %+v to %+v", seed, l.cfg, to)
		require.Equal(t, wantDrops, drops, why)
		sameHeard(t, want, got, cfg.Kind == layout.SPSC, why)
		samePlaces(t, l, want, got, to, m.Renames(), why)
		if m.Renames() {
			renamed++
		}
		for _, h := range got {
			if h.end {
				ends++
			}
			if h.again {
				repeats++
			}
		}
		goesOn(t, s, got)
	}
	t.Logf("%d fit, %d did not, %d renamed, %d ends told, %d messages redelivered", fits, misfits, renamed, ends, repeats)
	require.Positive(t, min(fits-rounds/4, misfits-rounds/20, renamed-rounds/100, ends-rounds, repeats-rounds/2))
}

// justified makes sure that what is said to be too much is.
func justified(t *testing.T, s *shm.Segment, to layout.Config, e *ring.MisfitError) {
	v, err := layout.Parse(s.Bytes())
	require.NoError(t, err)
	require.Greater(t, e.Need, e.Have)
	switch e.Field {
	case "slots":
		require.Equal(t, to.Slots, e.Have)
		fates := 0
		for i := range v.Participants {
			for k := range v.Participants[i].Fates {
				if v.Participants[i].Fates[k].Fate.Load() != 0 {
					fates++
				}
			}
		}
		need := recordSlots(v, to)
		require.GreaterOrEqual(t, e.Need, need)
		require.LessOrEqual(t, e.Need, need+fates)
	case "max producers":
		require.Equal(t, to.Participants-1, e.Have)
	case "max message":
		require.Equal(t, to.MaxMessage, e.Have)
	case "slots × slot size":
		require.Equal(t, to.Capacity(), e.Have)
	default:
		t.Fatal(e)
	}
}

// recordSlots is how many slots of another geometry the messages and batches of a ring take.
func recordSlots(v *layout.View, to layout.Config) (slots int) {
	if v.Config.Kind == layout.SPSC {
		at := func(pos uint64) layout.Record {
			return layout.Record(binary.NativeEndian.Uint64(v.Area[pos%uint64(len(v.Area)):]))
		}
		bytes, part := uint64(layout.RecordHeader), uint64(to.Area())/uint64(to.Slots)
		for pos := v.Hot.ReadPos.Load(); at(pos) != 0; pos = at(pos).Next(pos) {
			if at(pos)&layout.RecordSkip == 0 {
				bytes += layout.NextRecord(0, at(pos).Length(), layout.RecordAlign-1)
			}
		}
		return int((bytes + part - 1) / part)
	}
	shift := v.Config.Shift()
	for pos := v.Hot.ReadPos.Load(); ; {
		d := &v.Descriptors[pos&uint64(v.Config.Slots-1)]
		ctl := d.Ctl.Load()
		if !ctl.IsFinished(layout.LapOf(pos, shift)) {
			return slots
		}
		if ctl.State() == layout.Committed {
			n, _, _ := layout.UnpackMeta(d.Meta)
			slots++
			if int(n) > max(layout.InlineSize, to.SlotSize) {
				slots += (int(n)+to.SlotSize-1)/to.SlotSize - 1
			}
		}
		if pos += ctl.Slots(); pos-v.Hot.ReadPos.Load() >= uint64(v.Config.Slots) {
			return slots
		}
	}
}

// sameHeard compares what two consumers got. On a ring for many the end of a stream may come
// later behind others' messages, the more so the larger the ring is.
func sameHeard(t *testing.T, want, got []heard, exactly bool, why string) {
	texts := func(list []heard, keep func(heard) bool) (texts []string) {
		for _, h := range list {
			if keep(h) {
				texts = append(texts, h.what)
			}
		}
		return texts
	}
	for _, keep := range []func(heard) bool{
		func(h heard) bool { return !h.end }, func(h heard) bool { return h.end }, func(heard) bool { return exactly },
	} {
		require.Equal(t, texts(want, keep), texts(got, keep), why)
	}
	over := map[string]bool{}
	for _, h := range got {
		require.False(t, !h.end && h.stream != "" && over[h.stream], "%s: %s comes behind the end of its stream", why, h.what)
		over[h.stream] = over[h.stream] || h.end
	}
}

// samePlaces holds positions to what is promised of them.
func samePlaces(t *testing.T, l *livedRing, want, got []heard, to layout.Config, renamed bool, why string) {
	// A smaller MaxMessage makes the area smaller where a message may take nearly all of it.
	larger := to.Slots >= l.cfg.Slots && to.SlotSize >= l.cfg.SlotSize && to.Area() >= l.cfg.Area()
	require.False(t, renamed && larger, why)
	v, err := layout.Parse(l.seg.Bytes())
	require.NoError(t, err)
	read, seen := v.Hot.ReadPos.Load(), uint64(0)
	var mine, theirs []uint64
	for i := range want {
		if !want[i].end {
			mine = append(mine, want[i].pos-read)
			if want[i].again {
				seen = want[i].pos - read
			}
		}
	}
	for i := range got {
		if !got[i].end {
			theirs = append(theirs, got[i].pos-read)
		}
	}
	require.True(t, slices.IsSorted(theirs), why)
	ends := func(list []heard) (at []uint64) {
		for _, h := range list {
			if h.end {
				at = append(at, h.pos)
			}
		}
		return at
	}
	if larger {
		require.Equal(t, ends(want), ends(got), "%s: positions of ends", why)
	}
	for i := range mine {
		switch {
		case larger || mine[i] <= seen && seen > 0 && !renamed:
			require.Equal(t, mine[i], theirs[i], "%s: position of message %d", why, i)
		case !renamed && seen > 0:
			require.Greater(t, theirs[i], seen, why)
		}
	}
}

// goesOn lets a ring be used, until all has come around twice.
func goesOn(t *testing.T, s *shm.Segment, before []heard) {
	v, cfg := opened(t, s, ring.Config{})
	p, err := ring.NewProducer(v, cfg)
	require.NoError(t, err)
	w, cfg := opened(t, s, ring.Config{})
	c, err := ring.NewConsumer(w, cfg)
	require.NoError(t, err)
	next := func() (ring.Message, error) { // io.EOF may be due to one who expects fewer streams
		m, err := c.TryNext()
		if err == io.EOF {
			m, err = c.TryNext()
		}
		return m, err
	}
	var last uint64
	for _, h := range before {
		if !h.end {
			last = h.pos
		}
	}
	for i := range 2 * min(v.Config.Slots, 64) {
		msg := message(2, uint64(i), i*37%(v.Config.MaxMessage+1))
		for p.TrySend(msg) == ring.ErrFull { // padding first
			_, err := next()
			require.Equal(t, ring.ErrEmpty, err)
		}
		m, err := next()
		require.NoError(t, err)
		require.True(t, slices.Equal(msg, m.Bytes()))
		require.False(t, m.Redelivered())
		if len(before) > 0 && last != 0 {
			require.Positive(t, int64(m.Position().Record-last))
		}
		last = m.Position().Record
		m.Release()
	}
}

// at8 is a ring of 8 slots for many producers.
func at8(t *testing.T, participants int) *rig {
	return newRig(t, memories[0], layout.Config{Kind: layout.MPSC, Slots: 8, SlotSize: 64, Participants: participants})
}

// A consumer was killed between the two words that say what it told. What it told of a producer
// whose place goes is told all the same.
func TestResizeFinishesANote(t *testing.T) {
	r := at8(t, 4)
	a, b := r.producer(), r.producer()
	require.NoError(t, b.CloseSend())
	require.NoError(t, a.TrySend(nil))
	b.view.Participants[layout.ConsumerIndex].Over.Store(layout.PackOver(1, 1, 2, 1))
	b.leave()
	a.leave()
	to := r.cfg
	to.Participants = 2
	s, _, err := resized(t, r.seg, to)
	require.NoError(t, err)
	got, _ := hearAll(t, s, ring.Config{})
	require.Equal(t, []string{" kind 0 from 1 again false index 0", "1 of 1.1 (1)", "EOF"}, whats(got))
}

func whats(list []heard) (texts []string) {
	for _, h := range list {
		texts = append(texts, h.what)
	}
	return texts
}

// A producer's place goes and comes again: the streams of its first owner are not taken for
// those of the next.
func TestPlaceThatGoesAndComes(t *testing.T) {
	r := at8(t, 4)
	a, b := r.producer(), r.producer()
	require.NoError(t, b.FailSend())
	a.leave()
	c := r.consumer()
	require.Equal(t, []string{"failed 1", "EOF"}, tell(t, c), "the last that was told is the failure")
	b.leave()
	c.leave()
	small, large := r.cfg, r.cfg
	small.Participants = 2
	s, _, err := resized(t, r.seg, small)
	require.NoError(t, err)
	s, _, err = resized(t, s, large)
	require.NoError(t, err)
	var last ring.Attachment
	for range 2 {
		v, cfg := opened(t, s, ring.Config{})
		p, err := ring.NewProducer(v, cfg)
		require.NoError(t, err)
		require.NoError(t, p.FailSend())
		last = p.Attachment()
	}
	require.Equal(t, ring.Attachment{Index: 2, Epoch: 1}, last)
	got, _ := hearAll(t, s, ring.Config{})
	require.Contains(t, whats(got), "2 of 2.1 (1)")
}

// What is untold of a producer, or a message of its, keeps its place from going.
func TestResizeKeepsThePlacesOfProducers(t *testing.T) {
	r := at8(t, 4)
	a, b := r.producer(), r.producer()
	to := r.cfg
	to.Participants = 2
	require.NoError(t, b.TrySend(nil))
	_, _, err := resized(t, r.seg, to)
	require.Equal(t, &ring.MisfitError{Field: "max producers", What: "a message", Need: 2, Have: 1}, err)
	b.leave()
	a.leave()
	_, _, err = resized(t, r.seg, to)
	require.Equal(t, &ring.MisfitError{Field: "max producers", Need: 2, Have: 1,
		What: "the end of a stream, which no consumer was told yet,"}, err)
	hearAll(t, r.seg, ring.Config{})
	_, _, err = resized(t, r.seg, to)
	require.NoError(t, err)
}

// Claims that were given up leave gaps of any length.
func TestResizeWithAWideGap(t *testing.T) {
	r := newRig(t, memories[0], layout.Config{Kind: layout.MPSC, Slots: 1 << 14, SlotSize: 64, MaxMessage: 100})
	p := r.producer()
	const aborted = 9000
	for range aborted {
		c, err := p.TryClaim(5)
		require.NoError(t, err)
		c.Abort()
	}
	require.NoError(t, p.TrySend([]byte("behind")))
	p.leave()
	for _, slots := range []int{1 << 15, 8} {
		to := r.cfg
		to.Slots = slots
		s, m, err := resized(t, r.seg, to)
		require.NoError(t, err)
		require.False(t, m.Renames())
		got, _ := hearAll(t, s, ring.Config{})
		require.NotEmpty(t, got)
		require.Equal(t, hex("behind")+" kind 0 from 1 again false index 0", got[0].what)
		require.Equal(t, slots > aborted, got[0].pos == aborted)
		goesOn(t, s, got)
	}
}

func hex(s string) string { return fmt.Sprintf("%x", s) }

// What no correct producer writes is told, and nothing is made of it.
func TestResizeRefusesCorruption(t *testing.T) {
	word := func(slots uint64, owner uint8) layout.Ctl { return layout.PackCtl(1, slots, owner, layout.Committed) }
	for _, c := range []struct {
		field string
		spoil func(v *layout.View)
	}{
		{"record length", func(v *layout.View) { v.Descriptors[0].Meta = 1 << 20 }},
		{"record flags", func(v *layout.View) { v.Descriptors[0].Meta |= 1 << 55 }},
		{"record owner", func(v *layout.View) { v.Descriptors[0].Ctl.Store(word(1, 9)) }},
		{"record length in slots", func(v *layout.View) { v.Descriptors[0].Ctl.Store(word(0, 1)) }},
		{"record length in slots", func(v *layout.View) { v.Descriptors[0].Ctl.Store(word(9, 1)) }},
		{"end of the last record", func(v *layout.View) { v.Hot.Tail.Store(layout.PackTail(5, 0, 0)) }},
		{"position of a stream's end", func(v *layout.View) { v.Participants[1].Fates[0].Pos.Store(7) }},
	} {
		r := at8(t, 3)
		p := r.producer()
		require.NoError(t, p.TrySend([]byte("a")))
		p.leave()
		c.spoil(p.view)
		to := r.cfg
		to.Slots = 16
		_, _, err := resized(t, r.seg, to)
		corrupt, ok := err.(*ring.CorruptError)
		require.True(t, ok, "%s: %v", c.field, err)
		require.Equal(t, c.field, corrupt.Field)
	}
}

// A batch goes as a whole, and each of its messages has to be one that the ring takes.
func TestResizeOfABatch(t *testing.T) {
	r := newRig(t, memories[0], layout.Config{Kind: layout.MPSC, Slots: 64, SlotSize: 64, MaxMessage: 400,
		Participants: 2})
	p := r.producer()
	n, err := p.TrySendBatch([][]byte{make([]byte, 200), make([]byte, 400)})
	require.NoError(t, err)
	require.Equal(t, 2, n)
	p.leave()
	for want, edit := range map[ring.MisfitError]func(c *layout.Config){
		{}: func(c *layout.Config) { c.Slots = 16 },
		{"slots × slot size", "a batch of messages", 616, 512, 0}: func(c *layout.Config) { c.Slots = 8 },
		{"max message", "a message of a batch", 400, 399, 0}:      func(c *layout.Config) { c.MaxMessage = 399 },
	} {
		to := r.cfg
		edit(&to)
		s, _, err := resized(t, r.seg, to)
		if want != (ring.MisfitError{}) {
			require.Equal(t, &want, err)
			continue
		}
		require.NoError(t, err)
		got, _ := hearAll(t, s, ring.Config{})
		require.Len(t, got, 3)
		require.Equal(t, hex(string(make([]byte, 400)))+" kind 0 from 1 again false index 1", got[1].what)
	}
}

// Whatever stands in a ring, resizing it ends, within the memory of both, with an error of the
// kind that says so or with a ring that can be opened.
func TestResizeOfGarbage(t *testing.T) {
	const rounds = 4000
	corrupt := 0
	for seed := range uint64(rounds) {
		rng := rand.New(rand.NewPCG(seed, 9))
		cfg := layout.Config{Kind: pick(rng, layout.SPSC, layout.MPSC), Slots: 16, SlotSize: 64}
		l := &livedRing{rig: newRig(t, memories[0], cfg), rng: rng}
		for range rng.IntN(60) {
			l.step()
		}
		l.end()
		to := l.cfg
		to.Slots = pick(rng, 8, 16, 64)
		to.MaxMessage = to.Capacity()
		spoil := func() {
			// Not the header, of which there is a private copy.
			v, err := layout.Parse(l.seg.Bytes())
			require.NoError(t, err)
			words := l.seg.Bytes()[128 : 768+512*len(v.Participants)]
			for range 1 + rng.IntN(8) {
				words[rng.IntN(len(words))] ^= 1 << rng.IntN(8)
				if cfg.Kind == layout.SPSC {
					at := rng.IntN(len(v.Area)/8) * 8
					at = pick(rng, at, at%256, int(v.Hot.ReadPos.Load()%uint64(len(v.Area)))&^7)
					v.Area[at+pick(rng, rng.IntN(8), 6, 7)] ^= 1 << rng.IntN(8)
					continue
				}
				d := &v.Descriptors[rng.IntN(len(v.Descriptors))]
				d.Ctl.Store(d.Ctl.Load() ^ 1<<rng.IntN(24))
				d.Meta ^= 1 << rng.IntN(64)
			}
		}
		spoil()
		v, err := layout.Parse(l.seg.Bytes())
		require.NoError(t, err)
		m, err := ring.PlanMove(v, to)
		if err == nil {
			size, e := to.Size()
			require.NoError(t, e)
			s := shm.Heap(int(size))
			w, e := layout.Format(s.Bytes(), to)
			require.NoError(t, e)
			if rng.IntN(2) == 0 {
				spoil() // by a peer that lies, between the two
			}
			if err = m.Into(t.Context(), w, true); err == nil {
				v, cfg := opened(t, s, ring.Config{})
				_, err = ring.NewConsumer(v, cfg)
				require.NoError(t, err)
				continue
			}
		}
		var misfit *ring.MisfitError
		if !errors.As(err, &misfit) {
			require.ErrorIs(t, err, layout.ErrCorrupt)
			corrupt++
		}
	}
	require.Greater(t, corrupt, rounds/4)
}
