package shmnet_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/shmnet"
)

// within is how long a test waits for what should come at once.
const within = 20 * time.Second

func listen(t testing.TB, c *shmnet.Config) *shmnet.Listener {
	l, err := shmnet.Listen(filepath.Join(t.TempDir(), "s"), c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// pair returns the two ends of a connection: the dialer's first.
func pair(t testing.TB, c *shmnet.Config) (*shmnet.Conn, *shmnet.Conn) {
	l := listen(t, c)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	a, err := shmnet.Dial(ctx, l.Addr().String(), c)
	require.NoError(t, err)
	t.Cleanup(func() { _ = a.Close() })
	b, err := l.AcceptConn()
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	for _, c := range []*shmnet.Conn{a, b} {
		require.NoError(t, c.SetDeadline(time.Now().Add(within)))
	}
	return a, b
}

// each runs a test with every kind of bell, buffer and wait.
func each(t *testing.T, test func(t *testing.T, c *shmnet.Config)) {
	for name, c := range map[string]*shmnet.Config{
		"default": nil, "small": {Buffer: 4 << 10}, "sleep": {Wait: shmnet.WaitSleep, Buffer: 8 << 10},
	} {
		for _, bell := range []string{"event", "socket"} {
			t.Run(name+"/"+bell, func(t *testing.T) {
				if bell == "socket" {
					shmnet.SocketBells(t)
				}
				test(t, c)
			})
		}
	}
}

func TestThereAndBack(t *testing.T) {
	each(t, func(t *testing.T, c *shmnet.Config) {
		a, b := pair(t, c)
		n, err := a.Write([]byte("hello"))
		require.NoError(t, err)
		require.Equal(t, 5, n)
		buf := make([]byte, 3)
		_, err = io.ReadFull(b, buf)
		require.NoError(t, err)
		require.Equal(t, "hel", string(buf))
		n, err = b.Read(buf)
		require.NoError(t, err)
		require.Equal(t, "lo", string(buf[:n]))
		require.NoError(t, a.CloseWrite())
		for range 2 {
			_, err = b.Read(buf)
			require.Equal(t, io.EOF, err)
		}
		_, err = a.Write([]byte("more"))
		require.ErrorIs(t, err, syscall.EPIPE)
		_, err = b.Write([]byte("bye"))
		require.NoError(t, err)
		require.NoError(t, b.Close())
		all, err := io.ReadAll(a)
		require.NoError(t, err)
		require.Equal(t, "bye", string(all))
		require.Equal(t, os.Getpid(), first(a.Peer()))
		require.Equal(t, "shm", a.RemoteAddr().Network())
	})
}

func first(pid, _, _ int) int { return pid }

// pattern is bytes of which every place is known.
type pattern struct{ at, size int }

func (p *pattern) Read(b []byte) (int, error) {
	if p.at == p.size {
		return 0, io.EOF
	}
	n := min(len(b), p.size-p.at, 1+rand.IntN(5000))
	for i := range b[:n] {
		b[i] = byte(uint32(p.at+i) * 2654435761 >> 13)
	}
	p.at += n
	return n, nil
}

// Write checks what comes.
func (p *pattern) Write(b []byte) (int, error) {
	want := make([]byte, len(b))
	if n, _ := io.ReadFull(p, want); n != len(b) || !bytes.Equal(b, want) {
		return 0, fmt.Errorf("wrong bytes before %d", p.at)
	}
	return len(b), nil
}

// Every byte comes once and in its place, both ways at the same time, by each of the calls.
func TestStreams(t *testing.T) {
	const size = 3 << 20
	plainWrite := func(c *shmnet.Conn) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{c}, &pattern{size: size}, make([]byte, 70000))
		return errors.Join(err, c.CloseWrite())
	}
	plainRead := func(c *shmnet.Conn) (n int64, err error) {
		return io.CopyBuffer(&pattern{size: size}, struct{ io.Reader }{c}, make([]byte, 1+rand.IntN(90000)))
	}
	for name, calls := range map[string]struct {
		write func(*shmnet.Conn) error
		read  func(*shmnet.Conn) (int64, error)
	}{
		"copied": {plainWrite, plainRead},
		"in place": {func(c *shmnet.Conn) error {
			_, err := c.ReadFrom(&pattern{size: size})
			return errors.Join(err, c.CloseWrite())
		}, func(c *shmnet.Conn) (int64, error) { return c.WriteTo(&pattern{size: size}) }},
		"buffers": {func(c *shmnet.Conn) error {
			for p := (&pattern{size: size}); p.at < size; {
				var list net.Buffers
				for range 9 {
					b := make([]byte, 1+rand.IntN(3000))
					n, _ := io.ReadFull(p, b)
					list = append(list, b[:n])
				}
				if _, err := list.WriteTo(c); err != nil {
					return err
				}
			}
			return c.CloseWrite()
		}, plainRead},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, c *shmnet.Config) {
				a, b := pair(t, c)
				var all sync.WaitGroup
				for _, conn := range []*shmnet.Conn{a, b} {
					all.Go(func() {
						if err := calls.write(conn); err != nil {
							t.Error(err)
						}
					})
					all.Go(func() {
						if n, err := calls.read(conn); err != nil || n != size {
							t.Error(n, err)
						}
					})
				}
				all.Wait()
			})
		})
	}
}

// blocked starts a call and returns when it sleeps.
func blocked(t *testing.T, c *shmnet.Conn, call func() error) <-chan error {
	before := c.Sleeps()
	done := make(chan error, 1)
	go func() { done <- call() }()
	for begin := time.Now(); c.Sleeps() == before; runtime.Gosched() {
		if time.Since(begin) > within {
			t.Fatal("it does not sleep")
		}
	}
	return done
}

func reading(c *shmnet.Conn) func() error {
	return func() error {
		_, err := c.Read(make([]byte, 10))
		return err
	}
}

// writing writes more than there is room for.
func writing(c *shmnet.Conn) func() error {
	return func() error {
		_, err := c.Write(make([]byte, 1<<20))
		return err
	}
}

func ended(t *testing.T, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-time.After(within):
		t.Fatal("it does not return")
		return nil
	}
}

// Whatever ends a connection ends the calls that sleep, with the error that net has for it.
func TestWhatEndsSleeps(t *testing.T) {
	for name, k := range map[string]struct {
		end         func(c, peer *shmnet.Conn) error
		read, write error
	}{
		"close":       {func(c, _ *shmnet.Conn) error { return c.Close() }, net.ErrClosed, net.ErrClosed},
		"peer closes": {func(_, peer *shmnet.Conn) error { return peer.Close() }, io.EOF, syscall.EPIPE},
		"peer aborts": {func(_, peer *shmnet.Conn) error { return peer.Abort() }, syscall.ECONNRESET, syscall.EPIPE},
		"deadline": {func(c, _ *shmnet.Conn) error { return c.SetDeadline(time.Now().Add(-time.Second)) },
			os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		"deadline in a moment": {func(c, _ *shmnet.Conn) error { return c.SetDeadline(time.Now().Add(time.Millisecond)) },
			os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		"half closed": {func(c, peer *shmnet.Conn) error { return errors.Join(c.CloseWrite(), peer.CloseWrite()) },
			io.EOF, syscall.EPIPE},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, config *shmnet.Config) {
				c, peer := pair(t, config)
				r := blocked(t, c, reading(c))
				w := blocked(t, c, writing(c))
				require.NoError(t, k.end(c, peer))
				require.ErrorIs(t, ended(t, r), k.read)
				err := ended(t, w)
				require.ErrorIs(t, err, k.write)
				var op *net.OpError
				require.ErrorAs(t, err, &op)
				require.Equal(t, "write", op.Op)
				require.Equal(t, k.write == os.ErrDeadlineExceeded, op.Timeout())
			})
		})
	}
}

// What a half that was closed had written arrives, the other half goes on, and nobody takes the
// silence for a death.
func TestHalfClosed(t *testing.T) {
	each(t, func(t *testing.T, c *shmnet.Config) {
		a, b := pair(t, c)
		w := blocked(t, a, writing(a))
		require.NoError(t, a.CloseWrite())
		require.ErrorIs(t, ended(t, w), syscall.EPIPE)
		n, err := io.Copy(io.Discard, b) // which tells a of the room, who does not care
		require.NoError(t, err)
		require.Positive(t, n)
		for range 100 {
			_, err = b.Write([]byte("still here"))
			require.NoError(t, err)
			_, err = io.ReadFull(a, make([]byte, 10))
			require.NoError(t, err)
		}
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(within)))
		_, err = a.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.EPIPE)
	})
}

// A connection that is closed says so, always.
func TestClosed(t *testing.T) {
	a, b := pair(t, nil)
	_, err := b.Write([]byte("unread"))
	require.NoError(t, err)
	require.NoError(t, a.Close())
	for name, call := range map[string]func() error{
		"read": reading(a), "write": writing(a), "close": a.Close, "close write": a.CloseWrite,
		"deadline":  func() error { return a.SetDeadline(time.Time{}) },
		"read from": func() error { _, err := a.ReadFrom(strings.NewReader("x")); return err },
		"write to":  func() error { _, err := a.WriteTo(io.Discard); return err },
		"raw":       func() error { _, err := a.SyscallConn(); return err },
	} {
		require.ErrorIs(t, call(), net.ErrClosed, name)
	}
	_, err = b.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	for range 2 {
		_, err = b.Write([]byte("x"))
		if err == nil { // the news may be on its way
			continue
		}
		var peer *shmnet.PeerError
		require.ErrorAs(t, err, &peer)
		require.Equal(t, os.Getpid(), peer.PID)
	}
}

// Closing while others are in the middle of copying gives nobody wrong bytes.
func TestCloseInTheMiddle(t *testing.T) {
	for range 30 {
		a, b := pair(t, &shmnet.Config{Buffer: 16 << 10})
		var all sync.WaitGroup
		all.Go(func() { _, _ = io.CopyBuffer(struct{ io.Writer }{a}, &pattern{size: 1 << 30}, make([]byte, 9000)) })
		all.Go(func() {
			p, buf := &pattern{size: 1 << 30}, make([]byte, 9000)
			for {
				n, err := b.Read(buf)
				if _, wrong := p.Write(buf[:n]); wrong != nil {
					t.Error(wrong)
					return
				}
				if err != nil {
					return
				}
				if p.at > 1<<20 {
					go b.Close()
				}
			}
		})
		all.Wait()
	}
}

// What is read in place stays what it is until the user is done with it, whoever closes meanwhile.
func TestCloseWhileReadingInPlace(t *testing.T) {
	for name, read := range map[string]func(c *shmnet.Conn, f func([]byte) error) error{
		"ReadMessage": func(c *shmnet.Conn, f func([]byte) error) error { return c.ReadMessage(f) },
		"WriteTo": func(c *shmnet.Conn, f func([]byte) error) error {
			_, err := c.WriteTo(writerFunc(f))
			require.ErrorIs(t, err, net.ErrClosed)
			return nil
		},
	} {
		a, b := pair(t, nil)
		sent := bytes.Repeat([]byte("x"), 1000)
		_, err := a.Write(sent)
		require.NoError(t, err)
		calls := 0
		require.NoError(t, read(b, func(got []byte) error {
			calls++
			require.NoError(t, b.Close())
			require.Equal(t, sent, got, name)
			return nil
		}))
		require.Equal(t, 1, calls)
		require.ErrorIs(t, b.ReadMessage(nil), net.ErrClosed)
	}
}

type writerFunc func([]byte) error

func (f writerFunc) Write(b []byte) (int, error) { return len(b), f(b) }

// A peer that writes and closes, or dies, just after a reader has looked in vain has still written.
func TestLastWords(t *testing.T) {
	for _, end := range []func(*shmnet.Conn) error{(*shmnet.Conn).Close, (*shmnet.Conn).Abort} {
		a, b := pair(t, nil)
		require.NoError(t, b.FindsNothing(func() {
			_, err := a.Write([]byte("last words"))
			require.NoError(t, err)
			require.NoError(t, end(a))
			<-b.Done()
		}))
		buf := make([]byte, 100)
		n, err := b.Read(buf)
		require.NoError(t, err)
		require.Equal(t, "last words", string(buf[:n]))
		_, err = b.Read(buf)
		require.Error(t, err)
	}
}

// Half-closing a connection that has failed returns, and so does what comes after it.
func TestCloseWriteAfterAFailure(t *testing.T) {
	a, _ := pair(t, nil)
	a.FailWrites(shmring.ErrCorrupt)
	done := make(chan error, 1)
	go func() { done <- a.CloseWrite() }()
	require.NoError(t, ended(t, done))
	_, err := a.Write([]byte("x"))
	require.ErrorIs(t, err, syscall.EPIPE)
	require.NoError(t, a.Close())
}

// A deadline ends WriteTo also while there is always something to read.
func TestDeadlineOfWriteTo(t *testing.T) {
	a, b := pair(t, nil)
	go func() { _, _ = a.ReadFrom(&pattern{size: 1 << 30}) }()
	n := 0
	_, err := b.WriteTo(writerFunc(func(p []byte) error {
		if n += len(p); n > 1<<20 {
			return b.SetReadDeadline(time.Now().Add(-time.Second))
		}
		return nil
	}))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// A deadline that is over ends calls that would not have to wait, too.
func TestPastDeadline(t *testing.T) {
	a, b := pair(t, nil)
	_, err := a.Write([]byte("x"))
	require.NoError(t, err)
	for _, c := range []*shmnet.Conn{a, b} {
		require.NoError(t, c.SetDeadline(time.Now().Add(-time.Second)))
	}
	for name, call := range map[string]func() error{
		"read": reading(b), "write": func() error { _, err := a.Write([]byte("y")); return err },
		"read message":  func() error { return b.ReadMessage(func([]byte) error { return nil }) },
		"write message": func() error { return a.WriteMessage(1, func([]byte) (int, error) { return 1, nil }) },
		"read from":     func() error { _, err := a.ReadFrom(strings.NewReader("z")); return err },
		"write to":      func() error { _, err := b.WriteTo(io.Discard); return err },
	} {
		require.ErrorIs(t, call(), os.ErrDeadlineExceeded, name)
	}
	require.NoError(t, b.SetDeadline(time.Time{}))
	buf := make([]byte, 10)
	n, err := b.Read(buf)
	require.NoError(t, err)
	require.Equal(t, "x", string(buf[:n]))
}

// A deadline that is set just after CloseWrite does not have a write wait on.
func TestDeadlineAfterCloseWrite(t *testing.T) {
	each(t, func(t *testing.T, c *shmnet.Config) {
		a, _ := pair(t, c)
		w := blocked(t, a, writing(a))
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that it does not look in between
		require.NoError(t, a.CloseWrite())
		require.NoError(t, a.SetWriteDeadline(time.Time{}))
		require.ErrorIs(t, ended(t, w), syscall.EPIPE)
	})
}

// Messages are read in one piece, in place, as they were written.
func TestMessages(t *testing.T) {
	each(t, func(t *testing.T, c *shmnet.Config) {
		a, b := pair(t, c)
		require.Equal(t, a.MaxMessage(), b.MaxIncoming())
		var all sync.WaitGroup
		all.Go(func() {
			for i := range 500 {
				n := 1 + i*37%a.MaxMessage()
				err := a.WriteMessage(a.MaxMessage(), func(m []byte) (int, error) {
					return copy(m, bytes.Repeat([]byte{byte(i)}, n)), nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
		for i := range 500 {
			require.NoError(t, b.ReadMessage(func(m []byte) error {
				require.Equal(t, bytes.Repeat([]byte{byte(i)}, 1+i*37%a.MaxMessage()), m)
				return nil
			}))
		}
		all.Wait()
		refused := errors.New("refused")
		require.ErrorIs(t, a.WriteMessage(5, func([]byte) (int, error) { return 5, refused }), refused)
		require.NoError(t, a.WriteMessage(5, func([]byte) (int, error) { return 0, nil }))
		require.ErrorIs(t, a.WriteMessage(a.MaxMessage()+1, nil), shmring.ErrTooLarge)
		require.ErrorIs(t, a.WriteMessage(0, nil), shmring.ErrTooLarge)
		require.NoError(t, a.CloseWrite())
		require.ErrorIs(t, a.WriteMessage(5, nil), syscall.EPIPE)
		require.Equal(t, io.EOF, b.ReadMessage(nil))
	})
}

// ReadFrom may be in the middle of reading from something that says nothing: Close and CloseWrite do
// not wait for that.
func TestReadFromOfTheSilent(t *testing.T) {
	a, b := pair(t, nil)
	silent, say, err := os.Pipe()
	require.NoError(t, err)
	defer silent.Close()
	done := make(chan error, 1)
	go func() {
		_, err := a.ReadFrom(silent)
		done <- err
	}()
	_, err = say.WriteString("first")
	require.NoError(t, err)
	_, err = io.ReadFull(b, make([]byte, 5))
	require.NoError(t, err)
	require.NoError(t, a.CloseWrite())
	require.NoError(t, say.Close())
	err = ended(t, done)
	if err != nil {
		require.ErrorIs(t, err, syscall.EPIPE)
	}
	_, err = b.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
}

// What is left when all are closed: nothing.
func TestNothingLeft(t *testing.T) {
	each(t, func(t *testing.T, c *shmnet.Config) {
		fds := func() int {
			list, err := os.ReadDir("/proc/self/fd")
			require.NoError(t, err)
			return len(list)
		}
		l := listen(t, c)
		before, goroutines := fds(), runtime.NumGoroutine()
		for range 20 {
			a, err := shmnet.Dial(t.Context(), l.Addr().String(), c)
			require.NoError(t, err)
			b, err := l.Accept()
			require.NoError(t, err)
			_, err = a.Write([]byte("x"))
			require.NoError(t, err)
			_, err = b.Read(make([]byte, 1))
			require.NoError(t, err)
			require.NoError(t, a.Close())
			require.NoError(t, b.Close())
		}
		n, runs := shmnet.Watched()
		require.Zero(t, n)
		require.False(t, runs)
		for begin := time.Now(); fds() > before || runtime.NumGoroutine() > goroutines; runtime.Gosched() {
			require.Less(t, time.Since(begin), within, "%d descriptors, %d before; %d goroutines, %d before",
				fds(), before, runtime.NumGoroutine(), goroutines)
		}
	})
}

// A ring of the bell wakes the peer, and not a thread of its own process as well: the runtime does not wait for that
// counter.
func TestRuntimeWaitsForOwnCounterOnly(t *testing.T) {
	a, b := pair(t, nil)
	waits := map[string]bool{}
	all, err := filepath.Glob("/proc/self/fdinfo/*")
	require.NoError(t, err)
	for _, name := range all {
		info, _ := os.ReadFile(name) // another test's may be gone
		for line := range strings.Lines(string(info)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "tfd:" {
				waits[f[1]] = true
			}
		}
	}
	for _, c := range []*shmnet.Conn{a, b} {
		own, other := c.Counters()
		require.True(t, waits[strconv.Itoa(own)])
		require.False(t, waits[strconv.Itoa(other)])
	}
}

func TestConfig(t *testing.T) {
	for option, c := range map[string]*shmnet.Config{
		"Buffer": {Buffer: 1}, "MaxBuffer": {MaxBuffer: -1}, "Timeout": {Timeout: -1}, "Backlog": {Backlog: -1},
		"MaxConns": {MaxConns: -1}, "Perm": {Perm: os.ModeDir}, "Wait": {Wait: 7},
	} {
		_, err := shmnet.Listen(filepath.Join(t.TempDir(), "s"), c)
		var bad *shmring.OptionError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, "shmnet.Config."+option, bad.Option)
		_, err = shmnet.Dial(t.Context(), "x", c)
		require.ErrorIs(t, err, os.ErrInvalid)
	}
}

// A path that cannot be the address of a socket is refused with the numbers, and one that just can is not.
func TestPath(t *testing.T) {
	dir := t.TempDir()
	longest := "@" + strings.Repeat("x", 106-len(dir)) + dir // nobody else's
	l, err := shmnet.Listen(longest, nil)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	for _, path := range []string{"", longest + "x", filepath.Join(dir, strings.Repeat("x", 108))} {
		var bad *shmring.OptionError
		_, err := shmnet.Listen(path, nil)
		require.ErrorAs(t, err, &bad)
		require.ErrorContains(t, err, fmt.Sprintf("%d bytes long, want 1 to 107", len(path)))
		_, err = shmnet.Dial(t.Context(), path, nil)
		require.ErrorAs(t, err, &bad)
	}
}

// A counter that nobody has closed is closed when nobody can any more, as a file is.
func TestForgottenCounter(t *testing.T) {
	for name, end := range map[string]func(fd int){"closed": shmnet.CloseCounter, "forgotten": shmnet.ForgetCounter} {
		t.Run(name, func(t *testing.T) {
			var fds [2]int
			require.NoError(t, syscall.Pipe2(fds[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK))
			r := os.NewFile(uintptr(fds[0]), "pipe")
			defer r.Close()
			end(fds[1])
			closed := make(chan error, 1)
			go func() {
				_, err := r.Read(make([]byte, 1)) // until the last who could write is gone
				closed <- err
			}()
			for deadline := time.After(within); ; {
				runtime.GC()
				select {
				case err := <-closed:
					require.Equal(t, io.EOF, err)
					return
				case <-deadline:
					t.Fatal("it is open")
				default:
				}
			}
		})
	}
}
