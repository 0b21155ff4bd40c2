package shmnet_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/handover"
	"github.com/shmring/shmring/shmnet"
)

func TestListenerClosed(t *testing.T) {
	l := listen(t, nil)
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	a, err := shmnet.Dial(t.Context(), l.Addr().String(), nil)
	require.NoError(t, err)
	require.NoError(t, ended(t, done)) // accepted
	waiting, err := shmnet.Dial(t.Context(), l.Addr().String(), nil)
	require.NoError(t, err)
	defer waiting.Close()
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Close(), net.ErrClosed)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = waiting.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	_, err = os.Lstat(l.Addr().String())
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = shmnet.Dial(t.Context(), l.Addr().String(), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, a.Close())
}

// The socket of a listener that was killed is replaced; one at which somebody listens is not, and
// neither is anything else.
func TestLeftOverSockets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	dead.SetUnlinkOnClose(false)
	_, err = shmnet.Listen(path, nil)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, dead.Close())
	l, err := shmnet.Listen(path, &shmnet.Config{Perm: 0o640})
	require.NoError(t, err)
	st, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o640), st.Mode().Perm())
	_, err = shmnet.Listen(path, nil)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	// The name is a successor's by now.
	require.NoError(t, os.Remove(path))
	next, err := shmnet.Listen(path, nil)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = os.Lstat(path)
	require.NoError(t, err)
	require.NoError(t, next.Close())
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	_, err = shmnet.Listen(path, nil)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}

func TestAbstractSocket(t *testing.T) {
	l, err := shmnet.Listen("@"+filepath.Base(t.TempDir())+t.Name(), nil)
	require.NoError(t, err)
	defer l.Close()
	c, err := shmnet.Dial(t.Context(), l.Addr().String(), nil)
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// At most so many connections are open. Who comes later is connected when one is closed.
func TestMaxConns(t *testing.T) {
	l := listen(t, &shmnet.Config{MaxConns: 1})
	first, err := shmnet.Dial(t.Context(), l.Addr().String(), nil)
	require.NoError(t, err)
	defer first.Close()
	accepted, err := l.Accept()
	require.NoError(t, err)
	_, err = shmnet.Dial(t.Context(), l.Addr().String(), &shmnet.Config{Timeout: 30 * time.Millisecond})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var hs *shmnet.HandshakeError
	require.ErrorAs(t, err, &hs)
	require.Equal(t, "await an offer", hs.Doing)
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		c, err := shmnet.Dial(ctx, l.Addr().String(), &shmnet.Config{Timeout: within})
		if err == nil {
			err = c.Close()
		}
		done <- err
	}()
	require.NoError(t, accepted.Close())
	require.NoError(t, ended(t, done))
}

func TestDialEnds(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s")) // who says nothing
	require.NoError(t, err)
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err = shmnet.Dial(ctx, l.Addr().String(), nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = shmnet.Dial(t.Context(), l.Addr().String(), &shmnet.Config{Timeout: 10 * time.Millisecond})
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	var op net.Error
	require.ErrorAs(t, err, &op)
	require.True(t, op.Timeout())
}

func TestCredentials(t *testing.T) {
	stranger := &shmnet.Config{AllowUIDs: []int{os.Geteuid() + 12345}}
	l := listen(t, stranger)
	_, err := shmnet.Dial(t.Context(), l.Addr().String(), nil)
	require.ErrorIs(t, err, io.EOF)
	_, err = shmnet.Dial(t.Context(), listen(t, nil).Addr().String(), stranger)
	var who *shmring.CredentialsError
	require.ErrorAs(t, err, &who)
	require.Equal(t, os.Geteuid(), who.UID)
	group := &shmnet.Config{AllowUIDs: stranger.AllowUIDs, AllowGIDs: []int{os.Getegid()}}
	a, _ := pair(t, group)
	_, err = a.Write([]byte("x"))
	require.NoError(t, err)
}

func descriptors(t *testing.T) int {
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}

// A dialer that says something else, or nothing, or says it slowly, gets nothing and keeps nobody
// else from being connected.
func TestDialersThatLie(t *testing.T) {
	l := listen(t, &shmnet.Config{Timeout: 200 * time.Millisecond, Backlog: 4})
	path := l.Addr().String()
	before := descriptors(t)
	devnull, err := os.Open(os.DevNull)
	require.NoError(t, err)
	for name, lie := range map[string]func(c *net.UnixConn) error{
		"silence": func(*net.UnixConn) error { return nil },
		"garbage": func(c *net.UnixConn) error {
			_, err := c.Write(make([]byte, 1000))
			return err
		},
		"half an answer": func(c *net.UnixConn) error {
			_, err := c.Write([]byte("shmring\xf1\x01\x02"))
			return err
		},
		"another connection": func(c *net.UnixConn) error {
			return handover.Send(c, handover.Frame{Kind: handover.Answer, UUID: [16]byte{1}})
		},
		"refusal": func(c *net.UnixConn) error {
			offer, files, err := handover.Receive(c, handover.Connection)
			if err != nil {
				return err
			}
			handover.Close(files)
			return handover.Send(c, handover.Frame{Kind: handover.Answer, Status: handover.Refused, UUID: offer.UUID})
		},
		"an offer": func(c *net.UnixConn) error { return handover.Send(c, handover.Frame{Kind: handover.Connection}) },
		"descriptors": func(c *net.UnixConn) error {
			return handover.Send(c, handover.Frame{Kind: handover.Answer}, int(devnull.Fd()), int(devnull.Fd()))
		},
		"goes away": func(c *net.UnixConn) error { return c.Close() },
	} {
		if !t.Run(name, func(t *testing.T) {
			for range 6 { // more than the backlog
				c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
				require.NoError(t, err)
				defer c.Close()
				_ = lie(c) // the listener may have ended it already
			}
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			honest, err := shmnet.Dial(ctx, path, &shmnet.Config{Timeout: within})
			require.NoError(t, err)
			accepted, err := l.Accept()
			require.NoError(t, err)
			_, err = honest.Write([]byte("x"))
			require.NoError(t, err)
			require.NoError(t, accepted.SetReadDeadline(time.Now().Add(within)))
			_, err = io.ReadFull(accepted, make([]byte, 1)) // it is no liar who was accepted
			require.NoError(t, err)
			require.NoError(t, honest.Close())
			require.NoError(t, accepted.Close())
		}) {
			return // the others wait as long
		}
	}
	require.NoError(t, devnull.Close())
	for begin := time.Now(); descriptors(t) > before; runtime.Gosched() {
		require.Less(t, time.Since(begin), within, "%d descriptors, %d before", descriptors(t), before)
	}
}

// offered is what a listener that lies sends.
type offered struct {
	frame handover.Frame
	files []int
}

// A listener that offers something else is refused with the reason, and what it sent is closed.
func TestListenersThatLie(t *testing.T) {
	sealed := func(o *shmring.Options) int {
		o.Doorbell = shmring.DoorbellPoll
		r, err := shmring.NewSealed(t.Context(), "x", o)
		require.NoError(t, err)
		defer r.Close()
		f, err := r.File()
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		return int(f.Fd())
	}
	one := sealed(&shmring.Options{Slots: 8})
	two := sealed(&shmring.Options{Slots: 8})
	many := sealed(&shmring.Options{Slots: 8, Kind: shmring.KindMPSC})
	large := sealed(&shmring.Options{Slots: 8192, SlotSize: 4096})
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	datagram, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	count, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	require.NoError(t, err)
	blocking, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	require.NoError(t, err)
	var pipe [2]int
	require.NoError(t, unix.Pipe2(pipe[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	file, err := os.Create(filepath.Join(t.TempDir(), "f"))
	require.NoError(t, err)
	defer file.Close()
	defer handover.Close([]int{pipe[0], pipe[1], pair[0], pair[1], datagram[0], datagram[1], count, blocking})
	plain := int(file.Fd())
	connection := handover.Frame{Kind: handover.Connection}
	before := descriptors(t)
	for name, k := range map[string]struct {
		offer offered
		want  error
	}{
		"a ring":               {offered{handover.Frame{Kind: handover.Offer}, []int{one}}, shmring.ErrFormat},
		"nothing":              {offered{connection, nil}, shmring.ErrRefused},
		"two":                  {offered{connection, []int{one, two}}, shmring.ErrRefused},
		"too many":             {offered{connection, []int{one, two, count, count, count}}, shmring.ErrRefused},
		"files":                {offered{connection, []int{plain, plain, pair[0]}}, shmring.ErrRefused},
		"a file for a bell":    {offered{connection, []int{one, two, plain}}, shmring.ErrRefused},
		"files for a bell":     {offered{connection, []int{one, two, plain, plain}}, shmring.ErrRefused},
		"a counter and a file": {offered{connection, []int{one, two, count, plain}}, shmring.ErrRefused},
		"a blocking counter":   {offered{connection, []int{one, two, count, blocking}}, shmring.ErrRefused},
		"a pipe":               {offered{connection, []int{one, two, pipe[0], pipe[1]}}, shmring.ErrRefused},
		"datagrams":            {offered{connection, []int{one, two, datagram[0]}}, shmring.ErrRefused},
		"many producers":       {offered{connection, []int{one, many, pair[0]}}, shmring.ErrRefused},
		"too large":            {offered{connection, []int{one, large, pair[0]}}, shmring.ErrRefused},
		"the same ring twice":  {offered{connection, []int{one, one, pair[0]}}, nil},
	} {
		t.Run(name, func(t *testing.T) { dialed(t, k.offer, k.want) })
	}
	for begin := time.Now(); descriptors(t) > before; runtime.Gosched() {
		require.Less(t, time.Since(begin), within, "%d descriptors, %d before", descriptors(t), before)
	}
}

// dialed connects to a listener that offers that.
func dialed(t *testing.T, o offered, want error) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	defer l.Close()
	go func() {
		c, err := l.AcceptUnix()
		if err == nil {
			_ = handover.Send(c, o.frame, o.files...)
			_, _, _ = handover.Receive(c, handover.Answer)
			_ = c.Close()
		}
	}()
	c, err := shmnet.Dial(t.Context(), path, &shmnet.Config{MaxBuffer: 1 << 20})
	if want == nil { // we are our own peer then
		require.NoError(t, err)
		require.NoError(t, c.Close())
		return
	}
	require.ErrorIs(t, err, want)
	var hs *shmnet.HandshakeError
	require.ErrorAs(t, err, &hs)
	require.Equal(t, os.Getpid(), hs.PID)
}

// A peer that writes garbage into the rings ends the connection, and nothing else.
func TestPeersThatWriteGarbage(t *testing.T) {
	corrupt := 0
	for seed := range byte(40) {
		l := listen(t, &shmnet.Config{Buffer: 4 << 10})
		liar, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: l.Addr().String(), Net: "unix"})
		require.NoError(t, err)
		_, files, err := handover.Receive(liar, handover.Connection)
		require.NoError(t, err)
		var uuid [16]byte
		mem := make([][]byte, 2)
		for i := range mem {
			var st unix.Stat_t
			require.NoError(t, unix.Fstat(files[i], &st))
			mem[i], err = unix.Mmap(files[i], 0, int(st.Size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			require.NoError(t, err)
			defer unix.Munmap(mem[i])
		}
		r, err := shmring.OpenSealed(t.Context(), os.NewFile(uintptr(dup(t, files[0])), "r"), nil)
		require.NoError(t, err)
		uuid = r.Info().UUID
		require.NoError(t, r.Close())
		require.NoError(t, handover.Send(liar, handover.Frame{Kind: handover.Answer, UUID: uuid}))
		c, err := l.AcceptConn()
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(within)))
		r1, w1 := blocked(t, c, reading(c)), blocked(t, c, writing(c))
		for _, m := range mem {
			for i := 4096; i < len(m); i++ { // behind the header
				m[i] = byte(i)*seed ^ byte(i>>8)
			}
		}
		for _, fd := range files[2:] {
			_, _ = unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
		_, _ = liar.Write(make([]byte, 64))
		go func() {
			<-time.After(50 * time.Millisecond)
			_ = liar.Close()
		}()
		for _, done := range []<-chan error{r1, w1} {
			if err := ended(t, done); err != nil {
				require.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || err == io.EOF, "%v", err)
				if errors.Is(err, shmring.ErrCorrupt) {
					corrupt++
				}
			}
		}
		handover.Close(files)
		require.NoError(t, c.Close())
	}
	require.Positive(t, corrupt, "nobody was told what the peer has done")
}

func dup(t *testing.T, fd int) int {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	return n
}
