package fuzz

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/ring"
)

func FuzzAttach(f *testing.F) {
	for way := range byte(4) {
		for i := range 12 {
			f.Add(append([]byte{way}, randomBytes(uint64(i), 60)...))
		}
	}
	for at := range byte(128) { // one byte of the header wrong, with a checksum that is right
		f.Add([]byte{1, 0, 0, 1, 1, 0, 5, 0, at, 1})
	}
	seeds(f, 60, 200)
	f.Fuzz(attach)
}

func TestAttachRandom(t *testing.T) { some(t, 3, 200, attach) }

func FuzzLiveWords(f *testing.F) {
	seeds(f, 60, 200)
	f.Fuzz(liveWords)
}

func TestLiveWordsRandom(t *testing.T) { some(t, 10, 200, liveWords) }

// some is random for scripts that take some milliseconds: there are so many times less of them.
func some(t *testing.T, less, most int, run func(t *testing.T, data []byte)) {
	defer func(usual int) { *scripts = usual }(*scripts)
	*scripts = max(1, *scripts/less)
	random(t, most, run)
}

// directory is one for rings, in memory.
func directory(t *testing.T) string {
	for _, name := range []string{shmring.EnvLocks, shmring.EnvDoorbell} {
		require.NoError(t, os.Unsetenv(name)) // the files say which
	}
	dir, err := os.MkdirTemp(base(), "")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// outside are calls by the ring's name, and on its file.
type outside struct {
	t   *testing.T
	dir string
	ctx context.Context
	now atomic.Pointer[string]
}

func newOutside(t *testing.T) *outside {
	o := &outside{t: t, dir: directory(t)}
	var cancel context.CancelFunc
	o.ctx, cancel = context.WithTimeout(t.Context(), 10*patience)
	t.Cleanup(cancel)
	timer := time.AfterFunc(10*patience, func() { panic("the call that hung: " + *o.now.Load()) })
	t.Cleanup(func() { timer.Stop() })
	return o
}

// try makes one call and judges its error.
func (o *outside) try(what string, call func() error) error {
	o.now.Store(&what)
	begin := time.Now()
	err := call()
	if took := time.Since(begin); took > patience {
		o.t.Fatalf("%s took %v", what, took)
	}
	for _, ok := range []error{
		nil, shmring.ErrFull, shmring.ErrEmpty, shmring.ErrContended, shmring.ErrTooLarge, shmring.ErrPeerDead,
		shmring.ErrFailed, shmring.ErrBusy, shmring.ErrCorrupt, shmring.ErrFormat, shmring.ErrVersion,
		shmring.ErrTruncated, shmring.ErrRefused, shmring.ErrRevoked, shmring.ErrNotStalled, shmring.ErrOrphaned,
		shmring.ErrEnded, shmring.ErrClosed, io.EOF, io.ErrShortBuffer, context.DeadlineExceeded, fs.ErrNotExist,
		doorbell.ErrUnavailable,
	} {
		if errors.Is(err, ok) {
			return err
		}
	}
	if _, ok := errors.AsType[*shmring.ResizeError](err); !ok {
		o.t.Fatalf("%s: undocumented error %T %v", what, err, err)
	}
	return err
}

func (o *outside) admin() *shmring.AdminOptions { return &shmring.AdminOptions{Dir: o.dir} }

// soon is a context that ends in a moment.
func (o *outside) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(o.ctx, 5*time.Millisecond)
}

// look makes the calls of those who take no part.
func (o *outside) look(path string) {
	watch := &shmring.InspectOptions{Dir: o.dir}
	_ = o.try("Inspect", func() error { _, err := shmring.Inspect(o.ctx, "r", watch); return err })
	_ = o.try("InspectFile", func() error { _, err := shmring.InspectFile(o.ctx, path, nil); return err })
	_ = o.try("List", func() error {
		list, err := shmring.List(o.ctx, watch)
		if err == nil && len(list) != 1 {
			o.t.Fatalf("List sees %d files", len(list))
		}
		return err
	})
	_ = o.try("Peers", func() error { _, err := shmring.Peers(o.ctx, "r", o.admin()); return err })
	_ = o.try("Events", func() error { _, err := shmring.Events(o.ctx, "r", o.admin()); return err })
	_ = o.try("ForceSkip", func() error {
		ctx, cancel := o.soon()
		defer cancel()
		_, err := shmring.ForceSkip(ctx, "r", shmring.Position{Record: 1}, o.admin())
		return err
	})
}

// attach puts an image into a file, and does to that whatever can be done to a ring. It is opened only
// when a second reading of the header says that it is one. What it says besides is nobody's end.
func attach(t *testing.T, data []byte) {
	s := &script{data}
	o := newOutside(t)
	mem, whole := image(t, s)
	path := filepath.Join(o.dir, "r.shmring")
	require.NoError(t, os.WriteFile(path, mem, 0o600))
	if !whole {
		require.NoError(t, spoil(s, path, len(mem)))
	}
	o.look(path)
	opened := false
	for i := range 2 + s.below(3) {
		opened = o.join(s, i%2 == 0) || opened
	}
	if want := whole && legal(mem); !want && opened {
		t.Fatal("a file was opened that is no ring")
	}
	_ = o.try("Recover", func() error { _, err := shmring.Recover(o.ctx, "r", o.admin()); return err })
	_ = o.try("Resize", func() error {
		_, err := shmring.Resize(o.ctx, "r", shmring.Geometry{Slots: 8 << s.below(4)}, o.admin())
		if _, ok := errors.AsType[*shmring.OptionError](err); ok {
			return nil // MaxMessage does not fit into that
		}
		return err
	})
	o.look(path)
	require.NoError(t, o.try("Remove", func() error { return shmring.Remove(o.ctx, "r", o.admin()) }))
	left, err := os.ReadDir(o.dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// join takes a role in the ring, makes some calls and leaves. False: it cannot be opened.
func (o *outside) join(s *script, produce bool) bool {
	ctx, cancel := o.soon()
	defer cancel()
	options := &shmring.Options{Dir: o.dir, Mode: shmring.ModeOpenOnly, Untrusted: s.coin(), Prefault: s.coin()}
	if produce {
		var p *shmring.Producer
		err := o.try("OpenProducer", func() (err error) { p, err = shmring.OpenProducer(ctx, "r", options); return err })
		if err != nil {
			return false
		}
		for range s.below(12) {
			o.send(ctx, s, p)
		}
		_ = o.try("Close", p.Close)
		return true
	}
	var c *shmring.Consumer
	err := o.try("OpenConsumer", func() (err error) { c, err = shmring.OpenConsumer(ctx, "r", options); return err })
	if err != nil {
		return false
	}
	for range s.below(20) {
		o.receive(ctx, s, c)
	}
	_ = o.try("Close", c.Close)
	return true
}

func (o *outside) send(ctx context.Context, s *script, p *shmring.Producer) {
	msg := make([]byte, min(s.below(130), p.MaxMessage()))
	switch s.below(6) {
	case 0:
		_ = o.try("Send", func() error { return p.Send(ctx, msg) })
	case 1:
		_ = o.try("TrySendBatch", func() error { _, err := p.TrySendBatch([][]byte{msg, nil, msg}); return err })
	case 2:
		_ = o.try("TryClaim", func() error {
			c, err := p.TryClaim(len(msg))
			if err != nil {
				return err
			}
			return c.Commit()
		})
	case 3:
		_ = o.try("Check", p.Check)
		_, _ = p.Used(), p.Stats()
	default:
		_ = o.try("TrySend", func() error { return p.TrySend(msg) })
	}
}

func (o *outside) receive(ctx context.Context, s *script, c *shmring.Consumer) {
	look := func(m shmring.Message) {
		sum := byte(0)
		for _, b := range m.Bytes() {
			sum += b
		}
		if m.Len() > c.MaxMessage() {
			o.t.Fatalf("a message of %d bytes; MaxMessage is %d", m.Len(), c.MaxMessage())
		}
	}
	switch s.below(6) {
	case 0:
		_ = o.try("Receive", func() error { _, err := c.Receive(ctx, make([]byte, 100)); return err })
	case 1:
		_ = o.try("TryDrain", func() error {
			_, err := c.TryDrain(0, func(m shmring.Message) error { look(m); return nil })
			return err
		})
	case 2:
		_ = o.try("TryNext", func() error {
			m, err := c.TryNext()
			if err == nil {
				look(m)
				m.Release()
			}
			return err
		})
	case 3:
		_ = o.try("Check", c.Check)
		_, _ = c.Used(), c.Stats()
	default:
		_ = o.try("TryReceive", func() error { _, err := c.TryReceive(make([]byte, 100)); return err })
	}
}

// image makes the bytes of a file. They may be those of a ring that was used, with some of them changed.
// whole: the file is to be as long.
func image(t *testing.T, s *script) (mem []byte, whole bool) {
	switch s.below(8) {
	case 2:
		mem = forge(t, s)
	case 3:
		mem = memory(t, 1+s.below(1<<14))
		copy(mem, s.rest)
	default:
		mem = used(t, s)
		for range s.below(5) {
			for _, w := range badRecord(s) {
				w.write(mem)
			}
		}
		for range s.below(3) {
			at := pick(s, 0, 64, 128, 256, 384, 640, 768, 768+512, 768+1024, 8192, 8192+64, 8192+128, 12288) + s.below(64)
			for i := range min(1+s.below(9), len(mem)-at) {
				mem[at+i] = s.byte()
			}
		}
	}
	if s.coin() && len(mem) >= layout.FixedSize {
		seal(mem)
	}
	return mem, s.below(8) != 7
}

// used is a ring that was used a little, and left in a hurry.
func used(t *testing.T, s *script) []byte {
	cfg := layout.Config{
		Kind: pick(s, layout.SPSC, layout.MPSC), Slots: 8 << s.below(3), SlotSize: 64 * s.below(3), Participants: 2,
		Doorbell: layout.Futex + layout.Doorbell(s.below(3)), UUID: [16]byte{1, 2, 3},
	}
	if cfg.Kind == layout.MPSC {
		cfg.Participants += s.below(3)
	}
	cfg.MaxMessage = cfg.Capacity()
	size, err := cfg.Size()
	require.NoError(t, err)
	mem := memory(t, int(size))
	v, err := layout.Format(mem, cfg)
	require.NoError(t, err)
	var table lockTable
	p, err := ring.NewProducer(v, ring.Config{Locks: table.process()})
	require.NoError(t, err)
	for range s.below(6) {
		_, _ = p.TrySendBatch([][]byte{make([]byte, s.below(60)%(cfg.MaxMessage+1)), nil})
		_ = p.TrySend(make([]byte, s.below(200)%(cfg.MaxMessage+1)))
	}
	if s.coin() && cfg.Kind == layout.MPSC {
		_, _ = p.TryClaim(s.below(48)) //nolint:govet // it was killed then
	}
	if s.coin() {
		_ = p.CloseSend()
	}
	return mem
}

// spoil makes a file shorter or longer than its image, or punches a hole into it.
func spoil(s *script, path string, n int) error {
	switch s.below(3) {
	case 0:
		return os.Truncate(path, int64(s.below(n)))
	case 1:
		return os.Truncate(path, int64(n)+1+int64(s.below(256))<<32)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(s.below(n))&^4095, 4096)
}

// liveWords makes calls while a peer writes words of the ring, over a mapping of its own, as fast as it
// can: the script says which, and what. How the two meet is chance.
func liveWords(t *testing.T, data []byte) {
	s := &script{data}
	o := newOutside(t)
	options := &shmring.Options{
		Dir: o.dir, Kind: pick(s, shmring.KindSPSC, shmring.KindMPSC), Slots: 8, SlotSize: 64, MaxMessage: 120,
		Doorbell: pick(s, shmring.DoorbellFutex, shmring.DoorbellPoll, shmring.DoorbellSysV), Untrusted: s.coin(),
	}
	if options.Kind == shmring.KindMPSC {
		options.MaxProducers = 3
	}
	p, err := shmring.OpenProducer(o.ctx, "r", options)
	require.NoError(t, err)
	c, err := shmring.OpenConsumer(o.ctx, "r", options)
	require.NoError(t, err)
	path := p.Info().Path
	words := lies(s, int(p.Info().Size))
	var over atomic.Bool
	var peer sync.WaitGroup
	peer.Go(func() { lie(t, path, words, &over) })
	for i := 0; s.more() && i < 60; i++ {
		ctx, cancel := o.soon()
		switch s.below(5) {
		case 0, 1:
			o.send(ctx, s, p)
		case 2, 3:
			o.receive(ctx, s, c)
		case 4:
			if i%8 == 0 {
				o.look(path)
			}
		}
		cancel()
	}
	_ = o.try("Close", p.Close)
	_ = o.try("Close", c.Close)
	for i := range 2 {
		_ = o.join(s, i == 0)
	}
	_ = o.try("Recover", func() error { _, err := shmring.Recover(o.ctx, "r", o.admin()); return err })
	over.Store(true)
	peer.Wait()
	require.NoError(t, o.try("Remove", func() error { return shmring.Remove(o.ctx, "r", o.admin()) }))
}

// word is what a peer writes, and where.
type word struct {
	at    int
	value uint64
	wide  bool
}

func (w word) write(mem []byte) {
	if w.wide {
		native.PutUint64(mem[w.at:], w.value)
	} else {
		native.PutUint32(mem[w.at:], uint32(w.value))
	}
}

// badRecord is a record in one of the first slots, with something wrong in it, or nothing: its length, what may
// be the first entry of a batch, and its control word.
func badRecord(s *script) []word {
	at := 8192 + 64*s.below(8)
	n := pick[uint32](s, 0, 3, 16, 40, 47, 48, 49, 64, 65, 512, 513, 4096, 1<<31, 1<<32-1)
	entry := pick[uint32](s, 0, 3, 8, 32, 39, 40, 41, 48, 1<<31, 1<<32-1)
	k := pick[uint64](s, 1, 1, 1, 0, 2, 8, 9, 4095)
	owner := pick[uint8](s, 1, 1, 1, 2, 0, 3, 4, 5, 200, 255)
	state := pick(s, layout.Committed, layout.Committed, layout.Discarded, layout.Claimed)
	lap := pick[uint64](s, 1, 1, 1, 1, 2, 0)
	return []word{
		{at + 8, layout.PackMeta(n, 0, pick[uint8](s, 0, 0, 2, 2, 3, 1, 4)), true},
		{at + 16, layout.PackMeta(entry, 0, 0), true},
		{at, uint64(layout.PackCtl(lap, k, owner, state)), true},
	}
}

// lies are words that a script wants written: any but those of the header, and mostly where it matters.
func lies(s *script, size int) (list []word) {
	const participants, descriptors = 768, 8192
	for range s.below(3) {
		list = append(list, badRecord(s)...)
	}
	for range 1 + s.below(6) {
		at := pick(s, 128, 256, 384, 512, 520, 640, 656, 664, participants, participants+40, participants+512,
			participants+512+4, participants+512+40, participants+512+272, participants+512+280, descriptors, descriptors+8,
			descriptors+16, descriptors+64*s.below(8), descriptors+64*s.below(8)+8)
		w := word{at: min(at, size-8), value: pick(s, 0, 1, 2, 1<<63, ^uint64(0), 1<<32), wide: s.coin()}
		if s.coin() {
			lap := uint64(1 + s.below(3))
			w.value = pick(s, uint64(layout.PackCtl(lap, uint64(s.below(10)), uint8(s.below(5)), layout.State(s.below(4)))),
				layout.PackMeta(uint32(s.below(140)), 0, uint8(s.below(4))),
				uint64(layout.PackTail(uint64(s.below(20)), uint64(s.below(9)), uint8(s.below(5)))))
		}
		list = append(list, w)
	}
	return list
}

// lie writes the words again and again, and now and then what was there before.
func lie(t *testing.T, path string, words []word, over *atomic.Bool) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Error(err)
		return
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = unix.Munmap(mem) }()
	for i := 0; !over.Load(); i++ {
		w := words[i%len(words)]
		was := native.Uint64(mem[w.at:])
		w.write(mem)
		if i&64 != 0 {
			native.PutUint64(mem[w.at:], was)
		}
	}
}
