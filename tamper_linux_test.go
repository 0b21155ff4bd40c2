package shmring_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
)

// tamperings are what a peer who may write the ring's file does to it, with no need of its
// memory, and how those who use it are told.
var tamperings = map[string]struct {
	do   func(t *testing.T, path string)
	want error
	text string
}{
	"flock bit": {flipLocks, shmring.ErrCorrupt, "byte 56 of its header is not what it was"},
	"grown": {func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 1<<30)) },
		shmring.ErrCorrupt, "it has 1073741824 bytes, and had"},
	"truncated": {func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 100)) },
		shmring.ErrTruncated, "100 bytes are left of"},
	"hole": {func(t *testing.T, path string) { punch(t, path, 8192) }, shmring.ErrTruncated, "the rest are holes"},
}

// punch makes a hole of a page in a file.
func punch(t *testing.T, path string, at int64) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE,
		at/int64(os.Getpagesize())*int64(os.Getpagesize()), int64(os.Getpagesize())))
}

// flipLocks changes the kind of the life locks in the header, with its checksum.
func flipLocks(t *testing.T, path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	h := make([]byte, 128)
	_, err = f.ReadAt(h, 0)
	require.NoError(t, err)
	h[88] ^= 1
	tab := crc32.MakeTable(crc32.Castagnoli)
	binary.NativeEndian.PutUint32(h[56:], crc32.Update(crc32.Checksum(h[:56], tab), tab, h[64:]))
	_, err = f.WriteAt(h, 0)
	require.NoError(t, err)
}

// Check looks outside before it touches a byte, and what it finds is the end of the handle. It
// can be closed.
func TestCheckTellsOfATamperedFile(t *testing.T) {
	for name, c := range tamperings {
		t.Run(name, func(t *testing.T) {
			kinds(t, func(t *testing.T, o shmring.Options) {
				o.Slots = 64
				p := openProducer(t, &o)
				consumer := openConsumer(t, &o)
				require.NoError(t, consumer.Check())
				c.do(t, p.Info().Path)
				for range 2 {
					for _, err := range []error{p.Check(), consumer.Check()} {
						require.ErrorIs(t, err, c.want)
						require.ErrorIs(t, err, shmring.ErrCorrupt)
						require.ErrorContains(t, err, c.text)
						require.ErrorContains(t, err, p.Info().Path)
					}
				}
				require.ErrorIs(t, p.TrySend(nil), c.want, "the bytes are not touched any more")
				_, err := consumer.TryReceive(nil)
				require.ErrorIs(t, err, c.want)
				consumer.Close()
				p.Close()
			})
		})
	}
}

// Those who wait are told too, within the time between two looks.
func TestWaitsTellOfATamperedFile(t *testing.T) {
	for _, name := range []string{"flock bit", "grown"} { // the others are a SIGBUS
		t.Run(name, func(t *testing.T) {
			kinds(t, func(t *testing.T, o shmring.Options) {
				o.Slots = 8
				p := openProducer(t, &o)
				tampered := make(chan error, 2)
				consumer := openConsumer(t, &o)
				go func() {
					_, err := consumer.Receive(soon(t), nil)
					tampered <- err
				}()
				c := tamperings[name]
				c.do(t, p.Info().Path)
				require.ErrorIs(t, <-tampered, c.want)
				for p.TrySend(nil) == nil {
				}
				go func() { tampered <- p.Send(soon(t), nil) }()
				require.ErrorIs(t, <-tampered, c.want)
			})
		})
	}
}

// A hole reads as zeros, and so may say that nothing has come. Calls that wait for moments only, one behind
// the other, are told of it all the same.
func TestShortWaitsTellOfAHole(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots = 64
		for _, o.WaitPolicy = range []shmring.WaitPolicy{
			shmring.WaitBalanced, shmring.WaitSleep, shmring.WaitSpin, shmring.WaitPark,
		} {
			for name, call := range map[string]func(context.Context, *shmring.Producer, *shmring.Consumer) error{
				"send": func(ctx context.Context, p *shmring.Producer, _ *shmring.Consumer) error {
					for p.TrySend(nil) == nil {
					}
					return p.Send(ctx, nil)
				},
				"receive": func(ctx context.Context, _ *shmring.Producer, c *shmring.Consumer) error {
					_, err := c.Receive(ctx, nil)
					return err
				},
			} {
				p, c := openProducer(t, &o), openConsumer(t, &o)
				err := context.DeadlineExceeded
				for end := soon(t); errors.Is(err, context.DeadlineExceeded) && end.Err() == nil; {
					ctx, cancel := context.WithTimeout(end, 5*time.Millisecond)
					err = call(ctx, p, c)
					cancel()
					punch(t, p.Info().Path, p.Info().Size-int64(os.Getpagesize())) // nobody touches the last page
				}
				require.ErrorIs(t, err, shmring.ErrTruncated, "%s %v", name, o.WaitPolicy)
				p.Close()
				c.Close()
				require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
			}
		}
	})
}

// A Poller tells too.
func TestPollerTellsOfATamperedFile(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Slots: 8}
	openProducer(t, &o)
	consumer := openConsumer(t, &o)
	poller, err := shmring.NewPoller(nil)
	require.NoError(t, err)
	defer poller.Close()
	require.NoError(t, poller.Add(consumer))
	flipLocks(t, consumer.Info().Path)
	c, err := poller.Wait(soon(t))
	require.ErrorIs(t, err, shmring.ErrCorrupt)
	require.Same(t, consumer, c)
	_, err = consumer.TryReceive(nil)
	require.ErrorIs(t, err, shmring.ErrCorrupt)
}

// A peer that changes the kind of the locks does not get a second consumer in.
func TestChangedLocksDoNotSplitARing(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		p, c := openProducer(t, &o), openConsumer(t, &o)
		o.Mode = shmring.ModeOpenOnly
		flipLocks(t, p.Info().Path)
		t.Setenv(shmring.EnvLocks, "")
		_, err := shmring.OpenConsumer(soon(t), "r", &o)
		require.ErrorIs(t, err, shmring.ErrRefused)
		_, err = shmring.OpenProducer(soon(t), "r", &o)
		require.ErrorIs(t, err, shmring.ErrRefused)
		_, err = shmring.Recover(soon(t), "r", at(o.Dir))
		require.ErrorIs(t, err, shmring.ErrRefused)
		flipLocks(t, p.Info().Path)
		require.NoError(t, p.Send(soon(t), []byte("hello")))
		n, err := c.Receive(soon(t), make([]byte, 5))
		require.NoError(t, err)
		require.Equal(t, 5, n)
	})
}

// A ring that is refused again and again, for who has its role or for the options, takes no
// address space.
func TestRefusedRingsAreNotKeptMapped(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), KeepStream: true, Slots: 1 << 17}
	p := openProducer(t, &o)
	before := addressSpace(t)
	for range 30 {
		_, err := shmring.OpenProducer(soon(t), "r", &o)
		require.ErrorIs(t, err, shmring.ErrBusy)
		_, err = shmring.OpenConsumer(soon(t), "r", &shmring.Options{Dir: o.Dir, Slots: 64})
		var geometry *shmring.GeometryError
		require.ErrorAs(t, err, &geometry)
	}
	require.Less(t, addressSpace(t)-before, 10*p.Info().Size)
}

// addressSpace is how much of it this process has taken.
func addressSpace(t *testing.T) (bytes int64) {
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	_, err = fmt.Sscan(string(text), &bytes)
	require.NoError(t, err)
	return bytes * int64(os.Getpagesize())
}

// A file that is changed in the middle of being opened is told as one that was changed before.
func TestChangedWhileBeingOpened(t *testing.T) {
	o := shmring.Options{Dir: ringDir(t), Slots: 8}
	p := openProducer(t, &o)
	path, size := p.Info().Path, p.Info().Size
	ctx, over := soon(t), make(chan struct{})
	var peer sync.WaitGroup
	peer.Go(func() {
		for longer := false; ; longer = !longer {
			select {
			case <-over:
				return
			default:
			}
			to := size
			if longer {
				to++
			}
			if os.Truncate(path, to) != nil {
				return
			}
		}
	})
	for _, open := range []func() error{
		func() error { _, err := shmring.Peers(ctx, "r", at(o.Dir)); return err },
		func() error {
			c, err := shmring.OpenConsumer(ctx, "r", &o)
			if err == nil {
				_ = c.Close() // its error is what this is about
			}
			return err
		},
	} {
		for seen := false; !seen; {
			require.NoError(t, ctx.Err())
			if err := open(); err != nil {
				require.ErrorIs(t, err, shmring.ErrCorrupt)
				seen = strings.Contains(err.Error(), "changed (it has")
			}
		}
	}
	close(over)
	peer.Wait()
}
