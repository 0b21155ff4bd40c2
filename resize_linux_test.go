package shmring_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// locks runs a test with both kinds of life locks.
func bothLocks(t *testing.T, f func(t *testing.T)) {
	for _, kind := range []string{"ofd", "flock"} {
		t.Run(kind, func(t *testing.T) {
			t.Setenv(shm.EnvLocks, kind)
			f(t)
		})
	}
}

// onlyRing makes sure that nothing is in a directory but the ring r and its lock files.
func onlyRing(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	info, err := os.Stat(dir + "/r.shmring")
	require.NoError(t, err)
	locks := fmt.Sprintf(".shmring-%d.locks", info.Sys().(*syscall.Stat_t).Ino)
	for _, e := range entries {
		require.Contains(t, []string{"r.shmring", locks}, e.Name())
	}
}

// hear receives all there is, one text for each message and each end.
func hear(t *testing.T, c *shmring.Consumer) (texts []string) {
	t.Helper()
	for {
		m, err := c.TryNext()
		var over *shmring.StreamError
		switch {
		case err == nil:
			text := fmt.Sprintf("%s/%d", m.Bytes(), m.Kind())
			if m.Redelivered() {
				text += " again"
			}
			texts = append(texts, text)
			m.Release()
		case err == io.EOF:
			texts = append(texts, "EOF")
		case errors.As(err, &over):
			texts = append(texts, fmt.Sprint(over.Fate, " ", over.Epoch))
		default:
			require.ErrorIs(t, err, shmring.ErrEmpty)
			return texts
		}
	}
}

// A deployment with another geometry: nothing is lost of what waits, or of what is to be told.
func TestResize(t *testing.T) {
	bothLocks(t, func(t *testing.T) {
		kinds(t, func(t *testing.T, o shmring.Options) {
			uuid, seen, long, longs := fullRing(t, &o)
			g := shmring.Geometry{Slots: 64}
			if o.Kind == shmring.KindMPSC {
				g.MaxProducers = 2
			}
			r, err := shmring.Resize(soon(t), "r", g, at(o.Dir))
			require.NoError(t, err)
			onlyRing(t, o.Dir)
			g = shmring.Geometry{Slots: 64, SlotSize: 128, MaxMessage: 300, MaxProducers: r.Is.MaxProducers}
			require.Equal(t, g, r.Is)
			require.Equal(t, 8, r.Was.Slots)
			require.True(t, r.Changed)
			require.False(t, r.NewUUID)
			require.EqualValues(t, fileSize(t, r.Path), r.Size)

			p := openProducer(t, &o)
			require.Equal(t, uuid, p.Info().UUID)
			require.Equal(t, os.Getenv(shm.EnvLocks), p.Info().Locks)
			require.Equal(t, 64, p.Info().Slots)
			require.NoError(t, p.TrySend(long))
			require.NoError(t, p.Close())
			c := openConsumer(t, &o)
			m, err := c.TryNext()
			require.NoError(t, err)
			require.Equal(t, seen, m.Position())
			require.True(t, m.Redelivered())
			m.Release()
			want := []string{"/0", "failed 1"}
			for range longs {
				want = append(want, string(long)+"/0")
			}
			if o.Kind == shmring.KindSPSC {
				want = append(want, "EOF")
			}
			want = append(want, string(long)+"/0", "EOF")
			require.Equal(t, want, hear(t, c))
			events, err := shmring.Events(soon(t), "r", at(o.Dir))
			require.NoError(t, err)
			kinds := map[string]int{}
			for _, e := range events {
				kinds[e.Kind]++
			}
			require.Equal(t, 1, kinds["created"])
			require.Equal(t, 1, kinds["resized"])
		})
	})
}

// fullRing leaves a ring of 8 slots that nobody uses, in which there are: a message that was seen
// and not released, an empty one, the failure of their stream, and, across the end of a lap, as many
// as fit of 300 bytes. It resets the geometry in o.
func fullRing(t *testing.T, o *shmring.Options) (uuid [16]byte, seen shmring.Position, long []byte, longs int) {
	t.Helper()
	o.Mode, o.Slots, o.SlotSize, o.MaxMessage = shmring.ModeOpenOrCreate, 8, 128, 300
	p := openProducer(t, o)
	c := openConsumer(t, o)
	for range 5 {
		require.NoError(t, p.TrySend(append([]byte("gone"), make([]byte, 124)...)))
		_, err := c.TryReceive(make([]byte, 300))
		require.NoError(t, err)
	}
	require.NoError(t, p.SendKind(soon(t), []byte("seen"), 7))
	require.NoError(t, p.TrySend(nil))
	m, err := c.TryNext()
	require.NoError(t, err)
	require.Equal(t, "seen", string(m.Bytes()))
	require.NoError(t, c.Close())
	require.NoError(t, p.FailSend())
	require.NoError(t, p.Close())
	o.Slots, o.SlotSize, o.MaxMessage = 0, 0, 0
	p = openProducer(t, o)
	long = bytes.Repeat([]byte("x"), 300)
	for ; err == nil; longs++ { // behind padding, the first or the second
		err = p.TrySend(long)
	}
	require.ErrorIs(t, err, shmring.ErrFull)
	require.NoError(t, p.CloseSend())
	require.NoError(t, p.Close())
	return p.Info().UUID, m.Position(), long, longs - 1
}

func fileSize(t *testing.T, path string) int64 {
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Size()
}

// A producer that died, its unfinished claim and its messages: Resize finds them as Recover does.
func TestResizeFindsTheDead(t *testing.T) {
	o := &shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 16, MaxProducers: 2, KeepStream: true}
	p := openProducer(t, o)
	require.NoError(t, p.TrySend([]byte("a")))
	cmd, told, _ := spawnWithInput(t, o.Dir, 0, 0, "claim")
	require.True(t, told.Scan())
	require.NoError(t, p.TrySend([]byte("b")))
	require.NoError(t, p.Close())
	_, err := shmring.Resize(within(t, 20*time.Millisecond), "r", shmring.Geometry{Slots: 32}, at(o.Dir))
	require.ErrorIs(t, err, shmring.ErrBusy)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, cmd.Process.Kill())
	cmd.Wait()
	r, err := shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 8, MaxMessage: 100}, at(o.Dir))
	require.NoError(t, err)
	require.Equal(t, []shmring.DeadPeer{{Role: shmring.RoleProducer, Participant: 2, PID: cmd.Process.Pid}}, r.Dead)
	require.Equal(t, []int{1, 3}, []int{r.Skipped, r.Used})
	o.Slots, o.MaxProducers, o.Mode = 0, 0, shmring.ModeOpenOnly
	require.Equal(t, []string{"a/0", "b/0", "died 1"}, hear(t, openConsumer(t, o)))
}

func TestResizeLeavesARingInUseAlone(t *testing.T) {
	bothLocks(t, func(t *testing.T) {
		o := &shmring.Options{Dir: ringDir(t), Slots: 16}
		_, err := shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 32}, at(o.Dir))
		require.ErrorIs(t, err, fs.ErrNotExist)
		p := openProducer(t, o)
		_, err = shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 32}, at(o.Dir))
		require.ErrorIs(t, err, shmring.ErrBusy)
		require.ErrorContains(t, err, "not resized: a process has it open")
		r, err := shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 16, SlotSize: 256}, at(o.Dir))
		require.NoError(t, err, "it has that geometry already")
		require.False(t, r.Changed)
		require.Equal(t, r.Was, r.Is)
		require.EqualValues(t, fileSize(t, r.Path), r.Size)
		require.NoError(t, p.Check())
	})
}

// What does not fit is told with its numbers, and the ring is as it was.
func TestResizeThatDoesNotFit(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots, o.SlotSize, o.MaxMessage = 32, 64, 1000
		first, need, long := "1.0", 21, 2
		if o.Kind == shmring.KindSPSC {
			o.Slots, first, need, long = 64, "16.0", 22, 5
		}
		p := openProducer(t, &o)
		require.NoError(t, p.TrySend([]byte("a")))
		for range long {
			require.NoError(t, p.TrySend(make([]byte, 500)))
		}
		_, err := p.TrySendBatch([][]byte{make([]byte, 100), make([]byte, 100)})
		require.NoError(t, err)
		require.NoError(t, p.CloseSend())
		path := p.Info().Path
		require.NoError(t, p.Close())
		// Repaired, so that nothing changes any more.
		_, err = shmring.Recover(soon(t), "r", at(o.Dir))
		require.NoError(t, err)
		for _, c := range []struct {
			g    shmring.Geometry
			want string
		}{
			{shmring.Geometry{MaxMessage: 499}, "ring r: not resized: a message at " + first + " needs max message 500, and " +
				"there would be 499: ask for more, or let a consumer take what is in the ring first"},
			{shmring.Geometry{Slots: 16}, fmt.Sprintf("what is in the ring needs %d slots, and there would be 16", need)},
		} {
			before, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = shmring.Resize(soon(t), "r", c.g, at(o.Dir))
			misfit, ok := errors.AsType[*shmring.ResizeError](err)
			require.True(t, ok, "%v", err)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, "r", misfit.Ring)
			require.Greater(t, misfit.Need, misfit.Have)
			requireSameRing(t, before, path)
			onlyRing(t, o.Dir)
		}
		for _, c := range []struct {
			g    shmring.Geometry
			want string
		}{
			{shmring.Geometry{Slots: 100}, "shmring: Geometry.Slots is 100, want 0 or a power of two, 8 to 1073741824"},
			{shmring.Geometry{SlotSize: 65}, "Geometry.SlotSize is 65, want"},
			{shmring.Geometry{MaxProducers: 300}, "Geometry.MaxProducers is 300, want 1 to 254"},
			{shmring.Geometry{SlotSize: shmring.NoPayload}, "Geometry.MaxMessage is 1000, want 0 to 48"},
			{shmring.Geometry{Slots: 8}, "Geometry.MaxMessage is 1000, want 0 to 512"},
			{shmring.Geometry{Slots: 1 << 30, SlotSize: 1 << 24}, "a ring with these Geometry.Slots and Geometry.SlotSize is"},
		} {
			_, err := shmring.Resize(soon(t), "r", c.g, at(o.Dir))
			var bad *shmring.OptionError
			require.ErrorAs(t, err, &bad)
			require.ErrorContains(t, err, c.want)
		}
		if o.Kind == shmring.KindSPSC {
			_, err := shmring.Resize(soon(t), "r", shmring.Geometry{MaxProducers: 2}, at(o.Dir))
			require.ErrorContains(t, err, "Geometry.MaxProducers is 2, want 1 with KindSPSC")
		}
	})
}

// requireSameRing compares what is in a ring, but for its events.
func requireSameRing(t *testing.T, before []byte, path string) {
	t.Helper()
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	a, err := layout.Parse(aligned(before))
	require.NoError(t, err)
	b, err := layout.Parse(aligned(after))
	require.NoError(t, err)
	require.Equal(t, a.Config, b.Config)
	require.Equal(t, a.Descriptors, b.Descriptors)
	require.Equal(t, a.Payload, b.Payload)
	require.True(t, bytes.Equal(a.Area, b.Area))
	require.Equal(t, a.Hot.ReadPos.Load(), b.Hot.ReadPos.Load())
	require.Equal(t, a.Hot.Tail.Load(), b.Hot.Tail.Load())
	for i := range a.Participants {
		require.Equal(t, a.Participants[i].Told.Load(), b.Participants[i].Told.Load())
		require.Equal(t, a.Participants[i].DrainPos.Load(), b.Participants[i].DrainPos.Load())
	}
}

// aligned copies bytes to where a view may lie over them.
func aligned(b []byte) []byte {
	s := shm.Heap(len(b))
	copy(s.Bytes(), b)
	return s.Bytes()
}

func TestResizeOfWhatIsNoSuchRing(t *testing.T) {
	o := &shmring.Options{Dir: ringDir(t), Slots: 16, Doorbell: shmring.DoorbellFutex}
	p := openProducer(t, o)
	path := p.Info().Path
	require.NoError(t, p.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for offset, want := range map[int]error{
		12:        shmring.ErrVersion,
		50:        shmring.ErrCorrupt,
		0:         shmring.ErrFormat,
		768 + 512: shmring.ErrCorrupt, // a participant's state
	} {
		spoiled := bytes.Clone(whole)
		spoiled[offset] ^= 9 // which is another, whatever it was: some of the header is chance
		require.NoError(t, os.WriteFile(path, spoiled, 0o600))
		_, err = shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 32}, at(o.Dir))
		require.ErrorIs(t, err, want)
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, spoiled, got)
		onlyRing(t, o.Dir)
	}
	require.NoError(t, os.WriteFile(path, whole, 0o600))
}

func TestResizeInAFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting a small tmpfs needs privileges: ", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
	o := &shmring.Options{Dir: dir, Slots: 1024}
	p, err := shmring.OpenProducer(soon(t), "r", o)
	require.NoError(t, err)
	require.NoError(t, p.TrySend([]byte("a")))
	require.NoError(t, p.Close())
	_, err = shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 4096}, at(dir))
	space, ok := errors.AsType[*shmring.SpaceError](err)
	require.True(t, ok, "%v", err)
	require.Greater(t, space.Need, space.Free)
	require.ErrorContains(t, err, "not resized")
	c, err := shmring.OpenConsumer(soon(t), "r", o)
	require.NoError(t, err)
	require.Equal(t, []string{"a/0", "EOF"}, hear(t, c))
	require.NoError(t, c.Close())
	onlyRing(t, dir)
	require.NoError(t, shmring.Remove(soon(t), "r", at(dir)))
}

func uuidOf(t *testing.T, path string) [16]byte {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	cfg, _, err := layout.ParseHead(b)
	require.NoError(t, err)
	return cfg.UUID
}

// see lets a producer send messages of 100 bytes, and a consumer see all that there are and
// release none. It returns where they are.
func see(t *testing.T, o *shmring.Options, send int) (at []shmring.Position) {
	t.Helper()
	p := openProducer(t, o)
	for range send {
		require.NoError(t, p.TrySend(make([]byte, 100)))
	}
	require.NoError(t, p.Close())
	c := openConsumer(t, o)
	for {
		m, err := c.TryNext()
		if err == shmring.ErrEmpty {
			require.NoError(t, c.Close())
			return at
		}
		require.NoError(t, err)
		at = append(at, m.Position())
	}
}

// Semaphores go with the file, and another set is made for the next one.
func TestResizeAndSemaphores(t *testing.T) {
	needSysV(t)
	bothLocks(t, func(t *testing.T) {
		o := &shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Doorbell: shmring.DoorbellSysV,
			Slots: 16, SlotSize: 128, MaxMessage: 128,
			Mode: shmring.ModeOpenOrCreate, KeepStream: true}
		seen := see(t, o, 2)
		o.Slots, o.SlotSize, o.MaxMessage = 0, 0, 0
		path := filepath.Join(o.Dir, "r.shmring")
		key, uuid := setKey(t, path), uuidOf(t, path)
		resize := func(g shmring.Geometry) bool {
			r, err := shmring.Resize(soon(t), "r", g, at(o.Dir))
			require.NoError(t, err)
			require.True(t, r.Changed)
			was := uuid
			uuid = uuidOf(t, path)
			require.Equal(t, r.NewUUID, was != uuid)
			require.Zero(t, semaphoreSets(t, key))
			require.False(t, currentSet(t, path).Present())
			return r.NewUUID
		}
		again := func(n int) []shmring.Position {
			seen := see(t, o, n)
			other := setKey(t, path)
			require.NotEqual(t, key, other)
			require.Equal(t, 1, semaphoreSets(t, other))
			key = other
			return seen
		}
		require.False(t, resize(shmring.Geometry{Slots: 32}))
		require.Equal(t, seen, again(0))

		// What was seen takes two slots each now, and the first ends where the second is.
		require.True(t, resize(shmring.Geometry{SlotSize: 64}))
		seen = again(1)
		require.Len(t, seen, 3)

		require.False(t, resize(shmring.Geometry{Slots: 8, SlotSize: 128}), "larger slots, and fewer: they lie as they did")
		require.Equal(t, seen, again(0))
		c := openConsumer(t, o)
		for range seen {
			m, err := c.TryNext()
			require.NoError(t, err)
			require.True(t, m.Redelivered())
			m.Release()
		}
		require.NoError(t, c.Close())
		require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
		require.Zero(t, semaphoreSets(t, key))
	})
}

// Producers come and go while the ring is made anew again and again: each of their messages
// arrives, whichever file it was sent to.
func TestResizeBesideOpeners(t *testing.T) {
	bothLocks(t, func(t *testing.T) {
		o := &shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 1024, MaxMessage: 100,
			Mode: shmring.ModeOpenOrCreate}
		p := openProducer(t, o)
		require.NoError(t, p.Close())
		o.Slots, o.MaxMessage = 0, 0
		const senders, each, anew = 3, 100, 30
		var all sync.WaitGroup
		var sent atomic.Int64
		for i := range senders {
			all.Go(func() {
				for n := range each {
					p, err := shmring.OpenProducer(soon(t), "r", o)
					if err == nil {
						err = errors.Join(p.TrySend(fmt.Appendf(nil, "%d.%d", i, n)), p.Close())
					}
					if err != nil {
						t.Error(err)
						return
					}
					sent.Add(1)
				}
			})
		}
		for n := 0; n < anew || sent.Load() < senders*each; {
			before := sent.Load()
			_, err := shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 512 << (n % 2)}, at(o.Dir))
			if err != nil {
				require.ErrorIs(t, err, shmring.ErrBusy)
				continue
			}
			n++
			// Who holds the lock all the time keeps others out, who only look now and then.
			eventually(t, func() bool { return sent.Load() > before || sent.Load() == senders*each || t.Failed() })
			require.False(t, t.Failed())
		}
		all.Wait()
		next := map[string]int{}
		for _, text := range hear(t, openConsumer(t, o)) {
			var who string
			var seq, kind int
			if _, err := fmt.Sscanf(text, "%1s.%d/%d", &who, &seq, &kind); err == nil {
				require.Equal(t, next[who], seq)
				next[who]++
			}
		}
		require.Equal(t, map[string]int{"0": each, "1": each, "2": each}, next)
	})
}

// resizer makes the ring anew for ever, with the one geometry and the other.
func resizer(ctx context.Context, dir string) error {
	for n := 0; ; n++ {
		g := shmring.Geometry{Slots: 64 << (n % 2), SlotSize: 64 << (n % 3)}
		if _, err := shmring.Resize(ctx, "r", g, &shmring.AdminOptions{Dir: dir}); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// Killed at any moment, Resize leaves one ring or the other, with all that is in it.
func TestResizeKilled(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 25
	}
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots, o.SlotSize, o.MaxMessage, o.Mode = 64, 64, 700, shmring.ModeOpenOrCreate
		if o.Kind == shmring.KindMPSC {
			o.MaxProducers = 2
		}
		p := openProducer(t, &o)
		var want [][]byte
		for i := range 5 {
			want = append(want, numbered(i), nil)
			require.NoError(t, p.TrySend(numbered(i)))
			require.NoError(t, p.TrySend(nil))
		}
		require.NoError(t, p.FailSend())
		require.NoError(t, p.Close())
		rng := rand.New(rand.NewPCG(1, 2))
		geometries := map[shmring.Geometry]int{}
		for range rounds {
			cmd, told := spawn(t, o.Dir, 0, 0, "resize")
			for range 1 + rng.IntN(6) {
				require.True(t, told.Scan())
			}
			kill := time.AfterFunc(time.Duration(rng.IntN(1000))*time.Microsecond, func() { cmd.Process.Kill() })
			err := cmd.Wait()
			require.False(t, kill.Stop(), "it was not killed: %v", err)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal())
			r, err := shmring.Resize(soon(t), "r", shmring.Geometry{}, at(o.Dir))
			require.NoError(t, err)
			geometries[r.Is]++
			requireWaiting(t, filepath.Join(o.Dir, "r.shmring"), want)
		}
		require.Greater(t, len(geometries), 1, "%v", geometries)
		o.Slots, o.SlotSize, o.MaxMessage, o.MaxProducers = 0, 0, 0, 0
		c := openConsumer(t, &o)
		for i := range want {
			m, err := c.TryNext()
			require.NoError(t, err)
			require.True(t, bytes.Equal(want[i], m.Bytes()))
			require.False(t, m.Redelivered())
			m.Release()
		}
		require.Equal(t, "failed 1", hear(t, c)[0])
		require.NoError(t, c.Close())
		require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
		left, err := os.ReadDir(o.Dir)
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

// requireWaiting compares the messages in a file.
func requireWaiting(t *testing.T, path string, want [][]byte) {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	v, err := layout.Parse(aligned(raw))
	require.NoError(t, err)
	pos := v.Hot.ReadPos.Load()
	for i := 0; i < len(want) && v.Config.Kind == layout.SPSC; {
		at := pos % uint64(len(v.Area))
		w := layout.Record(binary.NativeEndian.Uint64(v.Area[at:]))
		require.True(t, w.IsSound(), "message %d", i)
		if w&layout.RecordSkip == 0 {
			require.True(t, bytes.Equal(want[i], v.Area[at+layout.RecordHeader:][:w.Length()]), "message %d", i)
			i++
		}
		pos = w.Next(pos)
	}
	for i := 0; i < len(want) && v.Config.Kind == layout.MPSC; {
		d := &v.Descriptors[pos&uint64(v.Config.Slots-1)]
		ctl := d.Ctl.Load()
		require.True(t, ctl.IsFinished(layout.LapOf(pos, v.Config.Shift())), "message %d", i)
		if ctl.State() == layout.Committed {
			n, _, _ := layout.UnpackMeta(d.Meta)
			got := d.Inline[:min(n, layout.InlineSize)]
			if n > layout.InlineSize {
				got = v.Payload[int(pos&uint64(v.Config.Slots-1))*v.Config.SlotSize:][:n]
			}
			require.True(t, bytes.Equal(want[i], got), "message %d", i)
			i++
		}
		pos += ctl.Slots()
	}
}
