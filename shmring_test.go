package shmring_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// kinds runs a test for both kinds of ring, each in a directory of its own.
func kinds(t *testing.T, f func(t *testing.T, o shmring.Options)) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		t.Run(kind.String(), func(t *testing.T) {
			o := shmring.Options{Dir: ringDir(t), Kind: kind}
			removeLast(t, o.Dir)
			f(t, o)
		})
	}
}

func openProducer(t testing.TB, o *shmring.Options) *shmring.Producer {
	p, err := shmring.OpenProducer(soon(t), "r", o)
	require.NoError(t, err)
	removeLast(t, o.Dir)
	t.Cleanup(func() { p.Close() })
	return p
}

// removeLast removes the ring when the test is over and all is closed: semaphores, with
// SHMRING_DOORBELL=sysv, outlive the directory.
func removeLast(t testing.TB, dir string) {
	t.Cleanup(func() { shmring.Remove(context.Background(), "r", at(dir)) })
}

// at makes the options of an administrator's call.
func at(dir string) *shmring.AdminOptions { return &shmring.AdminOptions{Dir: dir} }

func openConsumer(t testing.TB, o *shmring.Options) *shmring.Consumer {
	c, err := shmring.OpenConsumer(soon(t), "r", o)
	require.NoError(t, err)
	removeLast(t, o.Dir)
	t.Cleanup(func() { c.Close() })
	return c
}

// Either side may start first; the consumer leaves the geometry to the producer.
func TestEitherSideFirst(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		got := make(chan string, 1)
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			c, err := shmring.OpenConsumer(soon(t), "r", &shmring.Options{Dir: o.Dir})
			if err != nil {
				got <- err.Error()
				return
			}
			defer c.Close()
			buf := make([]byte, 16)
			n, err := c.Receive(soon(t), buf)
			if err != nil {
				got <- err.Error()
				return
			}
			got <- string(buf[:n])
		})
		p := openProducer(t, &o)
		require.True(t, p.Info().Created)
		require.NoError(t, p.Send(soon(t), []byte("hello")))
		require.Equal(t, "hello", <-got)
	})
}

func TestModes(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode = shmring.ModeOpenOnly
		_, err := shmring.OpenProducer(soon(t), "r", &o)
		require.ErrorIs(t, err, fs.ErrNotExist)
		_, err = shmring.OpenConsumer(soon(t), "r", &o)
		require.ErrorIs(t, err, fs.ErrNotExist)

		o.Mode = shmring.ModeOpenWait
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, err = shmring.OpenConsumer(ctx, "r", &o)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.ErrorIs(t, err, fs.ErrNotExist, "the error says what was waited for")

		o.Mode = shmring.ModeCreateOnly
		c := openConsumer(t, &o)
		require.True(t, c.Info().Created)
		_, err = shmring.OpenProducer(soon(t), "r", &o)
		require.ErrorIs(t, err, fs.ErrExist)

		o.Mode = shmring.ModeOpenOrCreate
		p := openProducer(t, &o)
		require.False(t, p.Info().Created)
		require.Equal(t, c.Info().UUID, p.Info().UUID)

		_, err = shmring.OpenConsumer(soon(t), "../escape", &o)
		require.Error(t, err)
		cancelled, stop := context.WithCancel(t.Context())
		stop()
		_, err = shmring.OpenProducer(cancelled, "r", &o)
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestDefaults(t *testing.T) {
	t.Setenv(shmring.EnvDoorbell, "")
	size, err := (*shmring.Options)(nil).Size()
	require.NoError(t, err)
	require.Less(t, size, int64(64<<20)/20, "a 64 MB /dev/shm holds many")
	require.EqualValues(t, 8192+8192*256, size, "the README says 2 MiB")

	dir := ringDir(t)
	t.Setenv("SHMRING_DIR", dir)
	p, err := shmring.OpenProducer(soon(t), "r", nil)
	require.NoError(t, err)
	defer p.Close()
	i := p.Info()
	require.Equal(t, filepath.Join(dir, "r.shmring"), i.Path)
	require.Equal(t, shmring.KindSPSC, i.Kind)
	require.Equal(t, shmring.DefaultMaxMessage, i.MaxMessage)
	require.Equal(t, 1, i.MaxProducers)
	require.Equal(t, shmring.DoorbellFutex, i.Doorbell)
	require.Equal(t, size, i.Size)
	st, err := os.Stat(i.Path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), st.Mode())

	for _, bad := range []shmring.Options{
		{Slots: 5}, {SlotSize: 100}, {MaxMessage: 1 << 30}, {Kind: shmring.KindMPSC, MaxProducers: 255}, {Kind: 9},
		{SlotSize: shmring.NoPayload, MaxMessage: 49},
	} {
		_, err := bad.Size()
		requireOptionError(t, err)
		bad.Mode = shmring.ModeCreateOnly
		_, err = shmring.OpenProducer(soon(t), "bad", &bad)
		requireOptionError(t, err)
	}
}

// A ring that exists is taken as it is, unless the options ask for something else.
func TestGeometryDisagrees(t *testing.T) {
	t.Setenv(shmring.EnvDoorbell, "")
	dir := ringDir(t)
	openProducer(t, &shmring.Options{Dir: dir, Kind: shmring.KindMPSC, Slots: 64, SlotSize: 128, MaxMessage: 1000,
		MaxProducers: 3, Doorbell: shmring.DoorbellPoll})
	for field, o := range map[string]shmring.Options{
		"kind":          {Kind: shmring.KindSPSC},
		"slots":         {Slots: 128},
		"slot size":     {SlotSize: 64},
		"max message":   {MaxMessage: 1001},
		"max producers": {MaxProducers: 4},
		"doorbell":      {Doorbell: shmring.DoorbellFutex},
	} {
		o.Dir = dir
		_, err := shmring.OpenProducer(soon(t), "r", &o)
		var ge *shmring.GeometryError
		require.ErrorAs(t, err, &ge, field)
		require.Equal(t, field, ge.Field)
	}
	p := openProducer(t, &shmring.Options{Dir: dir, Kind: shmring.KindMPSC, Slots: 64, SlotSize: 128, MaxMessage: 10,
		MaxProducers: 1})
	require.Equal(t, shmring.DoorbellPoll, p.Info().Doorbell, "as the creator said")
}

func TestRoles(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.MaxProducers = 1
		if o.Kind == shmring.KindSPSC {
			o.MaxProducers = 0
		}
		p := openProducer(t, &o)
		c := openConsumer(t, &o)
		_, err := shmring.OpenProducer(soon(t), "r", &o)
		require.ErrorIs(t, err, shmring.ErrBusy)
		_, err = shmring.OpenConsumer(soon(t), "r", &o)
		busy, ok := errors.AsType[*shmring.BusyError](err)
		require.True(t, ok)
		require.Equal(t, os.Getpid(), busy.PID)

		require.ErrorIs(t, shmring.Remove(soon(t), "r", at(o.Dir)), shmring.ErrBusy)

		// A successor that waits gets the role when it is given up.
		o.WaitForRole = true
		next := make(chan error, 1)
		go func() {
			c, err := shmring.OpenConsumer(soon(t), "r", &o)
			if err == nil {
				err = c.Close()
			}
			next <- err
		}()
		require.NoError(t, c.Close())
		require.NoError(t, <-next)
		require.NoError(t, p.Close())
		require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
		require.ErrorIs(t, shmring.Remove(soon(t), "r", at(o.Dir)), fs.ErrNotExist)
	})
}

func TestCloseEndsStream(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		c := openConsumer(t, &shmring.Options{Dir: o.Dir, Kind: o.Kind, Mode: shmring.ModeOpenOrCreate})
		for range 3 {
			p := openProducer(t, &o)
			require.False(t, p.Info().TookOver)
			require.NoError(t, p.Send(soon(t), []byte("x")))
			require.NoError(t, p.Close())
			require.NoError(t, p.Close())
			require.ErrorIs(t, p.Send(soon(t), nil), shmring.ErrClosed)
			var got int
			for m, err := range c.All(soon(t)) {
				require.NoError(t, err)
				got += m.Len()
			}
			require.Equal(t, 1, got)
		}
		// With KeepStream the stream goes on under a successor.
		o.KeepStream = true
		p := openProducer(t, &o)
		require.NoError(t, p.Close())
		_, err := c.TryNext()
		require.ErrorIs(t, err, shmring.ErrEmpty)
	})
}

// A loop over All goes on behind a stream that failed: others may still send.
func TestAllGoesOn(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		for _, text := range []string{"a", "b"} {
			p := openProducer(t, &o)
			require.NoError(t, p.TrySend([]byte(text)))
			if text == "a" {
				require.NoError(t, p.FailSend())
			}
			require.NoError(t, p.Close())
		}
		var got []string
		for m, err := range openConsumer(t, &o).All(soon(t)) {
			if err != nil {
				require.ErrorIs(t, err, shmring.ErrFailed)
				got = append(got, "failed")
				continue
			}
			got = append(got, string(m.Bytes()))
		}
		require.Equal(t, []string{"a", "failed", "b"}, got)
	})
}

// The end of a stream needs no room.
func TestCloseOnFullRing(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots = 8
		p := openProducer(t, &o)
		sent := 0
		for ; p.TrySend(nil) == nil; sent++ {
		}
		require.NoError(t, p.Close())
		require.ErrorIs(t, p.TrySend(nil), shmring.ErrClosed)
		c := openConsumer(t, &o)
		for range sent {
			_, err := c.TryReceive(nil)
			require.NoError(t, err)
		}
		_, err := c.TryReceive(nil)
		require.Equal(t, io.EOF, err)
		p = openProducer(t, &o)
		require.False(t, p.Info().TookOver)
	})
}

func TestConsumerGoesOn(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		p := openProducer(t, &o)
		for i := range 10 {
			require.NoError(t, p.TrySend([]byte{byte(i)}))
		}
		buf := make([]byte, 1)
		for i := range 10 {
			c := openConsumer(t, &o)
			require.False(t, c.Info().TookOver)
			_, err := c.Receive(soon(t), buf)
			require.NoError(t, err)
			require.Equal(t, byte(i), buf[0], "closing releases what was received")
			require.NoError(t, c.Close())
		}
	})
}

// 100 goroutines blocked in Send, and one in Receive, survive Close and say ErrClosed.
func TestCloseUnderLoad(t *testing.T) {
	for range 10 {
		o := shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 8, KeepStream: true}
		p := openProducer(t, &o)
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for {
					if err := p.Send(context.Background(), []byte("x")); err != nil {
						if !errors.Is(err, shmring.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		c := openConsumer(t, &o)
		wg.Go(func() {
			buf := make([]byte, 8)
			for {
				n, err := c.Receive(context.Background(), buf)
				if err != nil {
					if !errors.Is(err, shmring.ErrClosed) {
						t.Error(err)
					}
					return
				}
				if string(buf[:n]) != "x" {
					t.Errorf("received %q", buf[:n])
				}
			}
		})
		for c.Stats().Sleeps == 0 && p.Stats().Full < 10 {
			runtime.Gosched()
		}
		closed := make(chan error, 2)
		go func() { closed <- p.Close() }()
		go func() { closed <- c.Close() }()
		require.NoError(t, <-closed)
		require.NoError(t, <-closed)
		wg.Wait()
	}
}

// The same for the one goroutine that an SPSC ring's producer may have, blocked or in
// the middle of a claim.
func TestCloseOfSPSCProducer(t *testing.T) {
	for range 20 {
		o := shmring.Options{Dir: ringDir(t), Slots: 8}
		p := openProducer(t, &o)
		sent := 0
		for ; p.TrySend(nil) == nil; sent++ {
		}
		blocked := make(chan error, 1)
		go func() { blocked <- p.Send(context.Background(), nil) }()
		for p.Stats().Sleeps == 0 {
			runtime.Gosched()
		}
		require.NoError(t, p.Close())
		require.ErrorIs(t, <-blocked, shmring.ErrClosed)

		c := openConsumer(t, &o)
		for range sent {
			_, err := c.Receive(soon(t), nil)
			require.NoError(t, err)
		}
		p = openProducer(t, &o)
		claim, err := p.Claim(soon(t), 10)
		require.NoError(t, err)
		require.Panics(t, func() { p.TrySend(nil) }, "a caller's bug")
		require.NoError(t, p.Close())
		copy(claim.Bytes(), "harmless")
		require.ErrorIs(t, claim.Commit(), shmring.ErrClosed)
		for range 2 {
			_, err = c.TryNext()
			require.Equal(t, io.EOF, err, "of both")
		}
		_, err = c.TryNext()
		require.ErrorIs(t, err, shmring.ErrEmpty)
	}
}

// Several goroutines may end the stream of an MPSC producer. It ends once.
func TestCloseSendByMany(t *testing.T) {
	ends := 0
	o := shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 8,
		OnStreamEnd: func(shmring.StreamEnd) { ends++ }}
	p := openProducer(t, &o)
	for p.TrySend(nil) == nil {
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if err := p.CloseSend(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	require.True(t, p.Ended())
	c := openConsumer(t, &o)
	for range 8 {
		_, err := c.Receive(soon(t), nil)
		require.NoError(t, err)
	}
	_, err := c.Receive(soon(t), nil)
	require.Equal(t, io.EOF, err)
	_, err = c.TryReceive(nil)
	require.Equal(t, shmring.ErrEmpty, err)
	require.Equal(t, 1, ends)
}

func TestCloseInsideLoop(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		p, c := openProducer(t, &o), openConsumer(t, &o)
		for range 3 {
			require.NoError(t, p.TrySend([]byte("x")))
		}
		rounds := 0
		for _, err := range c.All(soon(t)) {
			if rounds++; rounds == 2 {
				require.ErrorIs(t, err, shmring.ErrClosed)
				continue
			}
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}
		require.Equal(t, 2, rounds)
	})
}

func TestOrphaned(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots = 8
		p, c := openProducer(t, &o), openConsumer(t, &o)
		require.NoError(t, os.Remove(p.Info().Path))
		_, err := c.Receive(soon(t), nil)
		require.ErrorIs(t, err, shmring.ErrOrphaned)
		for p.TrySend(nil) == nil {
		}
		require.ErrorIs(t, p.Send(soon(t), nil), shmring.ErrOrphaned)
	})
}

func TestNotARing(t *testing.T) {
	dir := ringDir(t)
	o := &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOnly}
	path := filepath.Join(dir, "r.shmring")
	require.NoError(t, os.WriteFile(path, make([]byte, 8192), 0o600))
	_, err := shmring.OpenProducer(soon(t), "r", o)
	require.ErrorIs(t, err, shmring.ErrFormat)
	require.ErrorContains(t, err, path)

	_, err = shmring.OpenProducer(soon(t), "r", &shmring.Options{Dir: dir})
	require.ErrorIs(t, err, shmring.ErrFormat, "OpenOrCreate does not touch it either")
	golden, err := os.ReadFile("layout/testdata/segment-v4.0.bin")
	require.NoError(t, err)
	golden[12] = 1
	require.NoError(t, os.WriteFile(path, golden, 0o600))
	_, err = shmring.OpenProducer(soon(t), "r", o)
	require.ErrorIs(t, err, shmring.ErrVersion)
	require.ErrorContains(t, err, "1.0")
	require.ErrorContains(t, err, "4.x")
}

// ringDir is a directory whose rings are removed at the end with all that belongs to
// them: a semaphore set outlives the file.
func ringDir(t testing.TB) string {
	dir := t.TempDir()
	t.Cleanup(func() {
		rings, _ := filepath.Glob(filepath.Join(dir, "*.shmring"))
		for _, path := range rings {
			// Some are broken on purpose, or still open.
			_ = shmring.Remove(context.Background(), strings.TrimSuffix(filepath.Base(path), ".shmring"), at(dir))
		}
	})
	return dir
}
