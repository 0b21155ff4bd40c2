package shmring_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// noInsisting lets go of what the gate insists on elsewhere: a sealed ring refuses it.
func noInsisting(t testing.TB) {
	t.Helper()
	t.Setenv(shmring.EnvLocks, "")
	if os.Getenv(shmring.EnvDoorbell) == "sysv" {
		t.Setenv(shmring.EnvDoorbell, "")
	}
}

// sealedKinds runs a test for both kinds of ring.
func sealedKinds(t *testing.T, f func(t *testing.T, o *shmring.Options)) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		t.Run(kind.String(), func(t *testing.T) {
			noInsisting(t)
			f(t, &shmring.Options{Kind: kind, Slots: 64, SlotSize: 64})
		})
	}
}

func newSealed(t testing.TB, o *shmring.Options) *shmring.Sealed {
	t.Helper()
	noInsisting(t)
	s, err := shmring.NewSealed(t.Context(), "orders", o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// sockets is a connection between us and us.
func sockets(t testing.TB) (a, b *net.UnixConn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	end := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "socket")
		defer f.Close()
		c, err := net.FileConn(f)
		require.NoError(t, err)
		t.Cleanup(func() { _ = c.Close() })
		return c.(*net.UnixConn)
	}
	return end(fds[0]), end(fds[1])
}

// openFiles lists what this process has open, but for what the runtime and inotify have, and
// whether it is closed in children.
func openFiles(t testing.TB) []string {
	t.Helper()
	var list []string
	for fd := range 512 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		what, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err == nil && !strings.HasPrefix(what, "anon_inode:") {
			list = append(list, fmt.Sprintf("%s %d", what, flags&unix.FD_CLOEXEC))
		}
	}
	return list
}

// A sealed ring is a ring: the same handles, errors and looks from outside.
func TestSealedRing(t *testing.T) {
	sealedKinds(t, func(t *testing.T, o *shmring.Options) {
		s := newSealed(t, o)
		require.Equal(t, "memfd:orders", s.Info().Name)
		require.True(t, s.Info().Created)
		require.Equal(t, o.Kind, s.Info().Kind)
		p, err := s.OpenProducer(soon(t), nil)
		require.NoError(t, err)
		defer p.Close()
		c, err := s.OpenConsumer(soon(t), &shmring.Options{NoPeer: shmring.NoPeerFail})
		require.NoError(t, err)
		defer c.Close()
		require.Equal(t, s.Info().UUID, c.Info().UUID)
		_, err = s.OpenConsumer(soon(t), nil)
		busy, ok := errors.AsType[*shmring.BusyError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "memfd:orders", busy.Ring)
		require.Equal(t, os.Getpid(), busy.PID)
		for i := range 500 { // some laps
			msg := bytes.Repeat([]byte{byte(i)}, i%150)
			require.NoError(t, p.Send(soon(t), msg))
			m, err := c.Next(soon(t))
			require.NoError(t, err)
			require.Equal(t, msg, m.Bytes())
			m.Release()
		}
		require.NoError(t, p.Check())
		peers, err := s.Peers()
		require.NoError(t, err)
		require.Len(t, peers, 2)
		events, err := s.Events()
		require.NoError(t, err)
		require.Equal(t, "created", events[0].Kind)
		_, err = s.ForceSkip(soon(t), shmring.Position{Record: 1 << 40})
		require.ErrorIs(t, err, shmring.ErrNotStalled)
		require.ErrorContains(t, err, "memfd:orders")
		poller, err := shmring.NewPoller(nil)
		require.NoError(t, err)
		defer poller.Close()
		require.NoError(t, poller.Add(c))
		require.NoError(t, poller.Blind())
		require.NoError(t, p.TrySend(nil))
		got, err := poller.Wait(soon(t))
		require.NoError(t, err)
		require.Same(t, c, got)
		_, err = c.TryReceive(nil)
		require.NoError(t, err)
		require.NoError(t, p.Close())
		_, err = c.Receive(soon(t), nil)
		require.Equal(t, io.EOF, err)
		_, err = c.Receive(soon(t), nil)
		require.ErrorIs(t, err, shmring.ErrNoPeer)
	})
}

// Who sleeps is woken, whatever way it sleeps: no sleep runs out.
func TestSealedWakes(t *testing.T) {
	for _, policy := range []shmring.WaitPolicy{shmring.WaitSleep, shmring.WaitPark} {
		s := newSealed(t, nil)
		p, err := s.OpenProducer(soon(t), nil)
		require.NoError(t, err)
		c, err := s.OpenConsumer(soon(t), &shmring.Options{WaitPolicy: policy, MaxSleep: time.Minute})
		require.NoError(t, err)
		for range 20 {
			received := make(chan error, 1)
			go func() {
				_, err := c.Receive(soon(t), nil)
				received <- err
			}()
			require.NoError(t, p.Send(soon(t), nil))
			require.NoError(t, <-received)
		}
		require.Zero(t, c.Stats().TimeoutWakeups)
		require.NotContains(t, strings.Join(c.Stats().Fallbacks, " "), "park")
		require.NoError(t, p.Close())
		require.NoError(t, c.Close())
	}
}

// The role goes on behind a Sealed that is closed, and the ring behind those who had it.
func TestSealedIsKeptByWhoHasIt(t *testing.T) {
	s := newSealed(t, nil)
	p, err := s.OpenProducer(soon(t), &shmring.Options{KeepStream: true})
	require.NoError(t, err)
	require.NoError(t, p.Send(soon(t), []byte("one")))
	f, err := s.File()
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, "memfd:orders", f.Name())
	require.NoError(t, s.Close())
	_, err = s.OpenProducer(soon(t), nil)
	require.ErrorIs(t, err, shmring.ErrClosed)
	_, err = s.File()
	require.ErrorIs(t, err, shmring.ErrClosed)
	_, err = s.Peers()
	require.ErrorIs(t, err, shmring.ErrClosed)
	_, err = s.Events()
	require.ErrorIs(t, err, shmring.ErrClosed)
	_, err = s.ForceSkip(soon(t), shmring.Position{})
	require.ErrorIs(t, err, shmring.ErrClosed)
	require.NoError(t, p.Send(soon(t), []byte("two")))
	require.NoError(t, p.Close())
	again, err := shmring.OpenSealed(soon(t), f, nil)
	require.NoError(t, err)
	defer again.Close()
	c, err := again.OpenConsumer(soon(t), nil)
	require.NoError(t, err)
	defer c.Close()
	buf := make([]byte, 3)
	for _, want := range []string{"one", "two"} {
		_, err := c.Receive(soon(t), buf)
		require.NoError(t, err)
		require.Equal(t, want, string(buf))
	}
}

// Whoever has a sealed ring can observe it, through a mapping of its own that cannot be written to and that stays; a
// broadcast ring may be sealed too.
func TestSealedObserved(t *testing.T) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC, shmring.KindBroadcast} {
		t.Run(kind.String(), func(t *testing.T) {
			s := newSealed(t, &shmring.Options{Kind: kind, Slots: 64, SlotSize: 64, MaxMessage: 500})
			p, err := s.OpenProducer(soon(t), nil)
			require.NoError(t, err)
			if kind != shmring.KindBroadcast {
				c, err := s.OpenConsumer(soon(t), nil)
				require.NoError(t, err)
				defer c.Close()
			}
			before := openFiles(t)
			o, err := s.OpenObserver(soon(t), nil)
			require.NoError(t, err)
			info := o.Info()
			require.Equal(t, "memfd:orders", info.Name)
			require.Equal(t, "memfd:orders", info.Path)
			require.Equal(t, s.Info().UUID, info.UUID)
			require.Equal(t, kind, info.Kind)
			require.Regexp(t, `(?m) r--s .*/memfd:orders `, text(t, "/proc/self/maps"))
			sendChecked(t, p, 1, 20)
			for n := uint64(1); n <= 20; n++ {
				m, err := o.Next(soon(t))
				require.NoError(t, err)
				require.Equal(t, n, m.Sequence)
				require.Equal(t, n, numberOf(t, m.Bytes))
				require.Zero(t, m.Missed)
			}
			require.NoError(t, o.Close())
			require.Equal(t, before, openFiles(t))
			require.NotRegexp(t, ` r--s .*/memfd:orders `, text(t, "/proc/self/maps"))

			name, told, stop := serve(t, s, shmring.HandOver{})
			defer stop()
			_, out := spawn(t, sealedChild+"observe", name)
			require.NoError(t, <-told)
			require.NoError(t, p.Send(soon(t), []byte("end")))
			require.Regexp(t, `^1 0 `, line(t, out))
			for n := 2; n <= 20; n++ {
				require.Regexp(t, fmt.Sprintf(`^%d 0 `, n), line(t, out))
			}
			require.Equal(t, `21 0 "end"`, line(t, out))
			require.NoError(t, p.Close())
		})
	}
}

func text(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// What an observer of a sealed ring is told of: a Sealed that is closed, options that it cannot have, and a hole.
func TestSealedObserverErrors(t *testing.T) {
	s := newSealed(t, &shmring.Options{Kind: shmring.KindBroadcast, Slots: 1024})
	for option, o := range map[string]shmring.ObserverOptions{
		"ObserverOptions.Dir":      {Dir: t.TempDir()},
		"ObserverOptions.Wait":     {Wait: true},
		"ObserverOptions.AnyOwner": {AnyOwner: true},
		"ObserverOptions.MaxNap":   {MaxNap: time.Hour},
	} {
		_, err := s.OpenObserver(soon(t), &o)
		bad, ok := errors.AsType[*shmring.OptionError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, option, bad.Option)
	}
	_, err := s.OpenConsumer(soon(t), nil)
	require.ErrorIs(t, err, shmring.ErrBroadcast)
	none, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.OpenObserver(none, nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.OpenObserver(soon(t), &shmring.ObserverOptions{From: shmring.FromPosition(shmring.Position{Record: 4096})})
	start, ok := errors.AsType[*shmring.StartError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "memfd:orders", start.Ring)
	o, err := s.OpenObserver(soon(t), nil)
	require.NoError(t, err)
	defer o.Close()
	f, err := s.File()
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, s.Close())
	_, err = s.OpenObserver(soon(t), nil)
	require.ErrorIs(t, err, shmring.ErrClosed)
	_, err = o.TryNext()
	require.Equal(t, shmring.ErrEmpty, err)

	hole := s.Info().Size - 4096 // behind all that was looked at
	require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, hole, 4096))
	_, err = o.Next(soon(t))
	lost, ok := errors.AsType[*shmring.TruncatedError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "memfd:orders", lost.Path)
}

func TestSealedOptions(t *testing.T) {
	s := newSealed(t, &shmring.Options{Slots: 64})
	for option, o := range map[string]shmring.Options{
		"Options.Dir":      {Dir: t.TempDir()},
		"Options.Mode":     {Mode: shmring.ModeOpenOnly},
		"Options.Perm":     {Perm: 0o600},
		"Options.AnyOwner": {AnyOwner: true},
		"Options.Doorbell": {Doorbell: shmring.DoorbellSysV},
		"Options.Slots":    {Slots: 7},
	} {
		_, err := shmring.NewSealed(soon(t), "r", &o)
		require.ErrorContains(t, err, option)
		bad, ok := errors.AsType[*shmring.OptionError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, option, bad.Option)
		_, err = s.OpenProducer(soon(t), &o)
		require.ErrorIs(t, err, fs.ErrInvalid)
	}
	_, err := s.OpenProducer(soon(t), &shmring.Options{Slots: 128})
	geometry, ok := errors.AsType[*shmring.GeometryError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "memfd:orders", geometry.Path)
	_, err = shmring.NewSealed(soon(t), "a/b", nil)
	require.ErrorIs(t, err, fs.ErrInvalid)
	t.Setenv(shmring.EnvDoorbell, "sysv")
	_, err = shmring.NewSealed(soon(t), "r", nil)
	require.ErrorContains(t, err, "environment variable SHMRING_DOORBELL")
	t.Setenv(shmring.EnvDoorbell, "")
	t.Setenv(shmring.EnvLocks, "flock")
	_, err = shmring.NewSealed(soon(t), "r", nil)
	require.ErrorIs(t, err, shmring.ErrUnsupported)
}

// A doorbell of semaphores is not for a sealed ring, also where nothing better works.
func TestSealedHasNoSemaphores(t *testing.T) {
	noInsisting(t)
	t.Setenv(shmring.EnvDoorbell, "")
	shmring.ProbeSysV(t)
	s := newSealed(t, nil)
	require.Equal(t, shmring.DoorbellPoll, s.Info().Doorbell)
	require.Len(t, s.Info().Refused, 2)
	require.ErrorContains(t, s.Info().Refused[1].Err, "would outlive")
}

// Nobody can make a sealed ring shorter; holes that a peer punches end the handle with an error.
func TestSealedCannotBeTruncated(t *testing.T) {
	s := newSealed(t, nil)
	p, err := s.OpenProducer(soon(t), nil)
	require.NoError(t, err)
	defer p.Close()
	f, err := s.File()
	require.NoError(t, err)
	defer f.Close()
	for _, size := range []int64{0, 1, s.Info().Size - 1, s.Info().Size + 1} {
		require.ErrorIs(t, f.Truncate(size), unix.EPERM)
	}
	require.NoError(t, p.Check())
	require.NoError(t, p.Send(soon(t), []byte("still here")))
	require.NoError(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<20, 4096))
	require.ErrorIs(t, p.Check(), shmring.ErrTruncated)
}

// Where the system has no page for a hole, whoever looks gets an error, then and later. Such a
// system is not to be had, so the pages may not be touched instead.
func TestSealedLooksSurviveMissingMemory(t *testing.T) {
	for name, look := range map[string]func(s *shmring.Sealed) error{
		"Peers":     func(s *shmring.Sealed) error { _, err := s.Peers(); return err },
		"Events":    func(s *shmring.Sealed) error { _, err := s.Events(); return err },
		"ForceSkip": func(s *shmring.Sealed) error { _, err := s.ForceSkip(soon(t), shmring.Position{}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSealed(t, &shmring.Options{Kind: shmring.KindMPSC})
			require.NoError(t, unix.Mprotect(s.Bytes(), unix.PROT_NONE))
			require.ErrorIs(t, look(s), shmring.ErrTruncated)
			require.ErrorIs(t, look(s), shmring.ErrTruncated, "zeros are no answer")
			p, err := s.OpenProducer(soon(t), nil) // which has memory of its own
			require.NoError(t, err)
			require.NoError(t, p.Close())
			require.NoError(t, s.Close())
			require.ErrorIs(t, look(s), shmring.ErrClosed)
		})
	}
}

// received runs ReceiveSealed against what give sends, and wants nothing to be left of it.
func received(t *testing.T, o *shmring.HandOver, give func(conn *net.UnixConn)) (*shmring.Sealed, error) {
	t.Helper()
	giver, taker := sockets(t)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		give(giver)
	}()
	s, err := shmring.ReceiveSealed(soon(t), taker, o)
	require.NoError(t, taker.Close())
	<-gone
	require.NoError(t, giver.Close())
	return s, err
}

func TestHandOver(t *testing.T) {
	s := newSealed(t, nil)
	var given error
	before := openFiles(t)
	r, err := received(t, nil, func(conn *net.UnixConn) {
		given = s.HandOver(soon(t), conn, &shmring.HandOver{Role: shmring.RoleProducer})
	})
	require.NoError(t, err)
	require.NoError(t, given)
	require.Equal(t, shmring.RoleProducer, r.Role())
	require.Equal(t, s.Info().UUID, r.Info().UUID)
	require.False(t, r.Info().Created)
	p, err := r.OpenProducer(soon(t), nil)
	require.NoError(t, err)
	c, err := s.OpenConsumer(soon(t), nil)
	require.NoError(t, err)
	require.NoError(t, p.Send(soon(t), []byte("x")))
	_, err = c.Receive(soon(t), make([]byte, 1))
	require.NoError(t, err)
	memories := 0
	for _, f := range openFiles(t) {
		if strings.Contains(f, "memfd:") {
			memories++
			require.True(t, strings.HasSuffix(f, " 1"), "%s is not closed in children", f)
		}
	}
	require.Equal(t, 4, memories, "two without a role and two with")
	require.NoError(t, p.Close())
	require.NoError(t, c.Close())
	require.NoError(t, r.Close())
	require.ElementsMatch(t, before, openFiles(t))
}

// offer is a frame as the package says, to be spoiled.
func offer(s *shmring.Sealed, files byte) []byte {
	b := append([]byte("shmring\xf1"), 1, 1, 0, 0, files, 0, 0, 0)
	uuid := s.Info().UUID
	return append(b, uuid[:]...)
}

// bad is something that comes over a socket and is not an offer of a sealed ring.
type bad struct {
	bytes []byte
	files []*os.File
	err   error
	text  string
}

// What is not an offer of a sealed ring, or not all of one, is refused with an error that says
// so, and nothing of it stays open.
func TestReceiveSealedRefuses(t *testing.T) {
	s := newSealed(t, nil)
	ring, err := s.File()
	require.NoError(t, err)
	defer ring.Close()
	for name, c := range badFrames(s, ring) {
		t.Run(name, c.isRefused)
	}
	for name, c := range badFiles(t, s) {
		t.Run(name, c.isRefused)
	}
	for name, c := range badMemory(t, s, ring) {
		t.Run(name, c.isRefused)
	}
}

func (c bad) isRefused(t *testing.T) {
	before := openFiles(t)
	s, err := received(t, nil, func(conn *net.UnixConn) {
		var rights []byte
		if len(c.files) > 0 {
			var fds []int
			for _, f := range c.files {
				fds = append(fds, int(f.Fd()))
			}
			rights = unix.UnixRights(fds...)
		}
		if len(c.bytes) > 0 {
			if _, _, err := conn.WriteMsgUnix(c.bytes, rights, nil); err != nil {
				t.Error(err)
			}
		}
		_ = conn.CloseWrite()
	})
	require.Nil(t, s)
	require.ErrorIs(t, err, c.err)
	require.ErrorContains(t, err, c.text)
	_, ok := errors.AsType[*shmring.HandOverError](err)
	require.True(t, ok, "%T", err)
	require.ElementsMatch(t, before, openFiles(t))
}

// badFrames are frames that are wrong, or come with too few or too many descriptors of ring.
func badFrames(s *shmring.Sealed, ring *os.File) map[string]bad {
	spoiled := func(at int, by byte) []byte {
		b := offer(s, 1)
		b[at] = by
		return b
	}
	many := func(n int) (list []*os.File) {
		for range n {
			list = append(list, ring)
		}
		return list
	}
	return map[string]bad{
		"nothing":        {nil, nil, io.EOF, ""},
		"half a message": {offer(s, 1)[:16], many(1), io.ErrUnexpectedEOF, "16 of 32 bytes"},
		"other bytes":    {bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 2), many(1), shmring.ErrFormat, "GET /"},
		"other version":  {spoiled(8, 2), many(1), shmring.ErrVersion, "2, ours is 1"},
		"an answer":      {spoiled(9, 2), many(1), shmring.ErrFormat, "kind 2"},
		"no such role":   {spoiled(10, 3), many(1), shmring.ErrFormat, "role 3"},
		"status":         {spoiled(11, 1), many(1), shmring.ErrFormat, "status 1"},
		"other ring":     {spoiled(20, ^offer(s, 1)[20]), many(1), shmring.ErrRefused, "another ring was promised"},
		"no descriptor":  {offer(s, 1), nil, shmring.ErrRefused, "0 came, 1 were promised"},
		"none promised":  {offer(s, 0), nil, shmring.ErrRefused, "one ring has one"},
		"one too many":   {offer(s, 1), many(2), shmring.ErrRefused, "2 came, 1 were promised"},
		"two":            {offer(s, 2), many(2), shmring.ErrRefused, "2 came, one ring has one"},
		"a promise of 9": {offer(s, 9), many(1), shmring.ErrRefused, "at most 8"},
		"too many":       {offer(s, 1), many(9), shmring.ErrRefused, "more than 8"},
		"very many":      {offer(s, 1), many(200), shmring.ErrRefused, "more than 8"},
	}
}

// badFiles are offers of what is no memory.
func badFiles(t *testing.T, s *shmring.Sealed) map[string]bad {
	open := func(path string) []*os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { _ = f.Close() })
		return []*os.File{f}
	}
	fifo, plain := filepath.Join(t.TempDir(), "fifo"), filepath.Join(t.TempDir(), "plain")
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	require.NoError(t, os.WriteFile(plain, make([]byte, 1<<20), 0o600))
	conn, _ := sockets(t)
	socket, err := conn.File()
	require.NoError(t, err)
	t.Cleanup(func() { _ = socket.Close() })
	one := offer(s, 1)
	return map[string]bad{
		"FIFO":         {one, open(fifo), shmring.ErrRefused, "a FIFO"},
		"socket":       {one, []*os.File{socket}, shmring.ErrRefused, "a socket"},
		"device":       {one, open("/dev/null"), shmring.ErrRefused, "a device"},
		"regular file": {one, open(plain), shmring.ErrRefused, "not a sealed memfd"},
	}
}

// badMemory are offers of memory that is not a ring of its size, sealed.
func badMemory(t *testing.T, s *shmring.Sealed, ring *os.File) map[string]bad {
	copied := func(seals int, change func(b []byte) []byte) []*os.File {
		b := shm.Heap(int(s.Info().Size)).Bytes() // aligned as layout wants it
		_, err := unix.Pread(int(ring.Fd()), b, 0)
		require.NoError(t, err)
		fd, err := unix.MemfdCreate("copy", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		require.NoError(t, err)
		f := os.NewFile(uintptr(fd), "copy")
		t.Cleanup(func() { _ = f.Close() })
		_, err = f.Write(change(b))
		require.NoError(t, err)
		if seals != 0 {
			_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
			require.NoError(t, err)
		}
		return []*os.File{f}
	}
	const all = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	same := func(b []byte) []byte { return b }
	at := func(i int, by byte) func([]byte) []byte {
		return func(b []byte) []byte { b[i] = by; return b }
	}
	from := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[n:] } }
	less := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }
	more := func(b []byte) []byte { return append(b, make([]byte, 4096)...) }
	first := func(b []byte) []byte { return b[:100] }
	formatted := func(change func(*layout.Config)) func([]byte) []byte {
		return func(b []byte) []byte {
			v, err := layout.Parse(b)
			require.NoError(t, err)
			change(&v.Config)
			clear(b)
			_, err = layout.Format(b, v.Config)
			require.NoError(t, err)
			return b
		}
	}
	semaphores := formatted(func(c *layout.Config) { c.Doorbell = layout.SysV })
	lockFiles := formatted(func(c *layout.Config) { c.Incompat |= layout.FlockLocks })
	one := offer(s, 1)
	return map[string]bad{
		"unsealed memfd":   {one, copied(0, same), shmring.ErrRefused, "its seals are none"},
		"too few seals":    {one, copied(unix.F_SEAL_SEAL, same), shmring.ErrRefused, "its seals are seal"},
		"may shrink":       {one, copied(all&^unix.F_SEAL_SHRINK, same), shmring.ErrRefused, "its seals are seal, grow"},
		"no header":        {one, copied(all, from(4096)), shmring.ErrFormat, ""},
		"one page less":    {one, copied(all, less(4096)), shmring.ErrCorrupt, "file size"},
		"one page more":    {one, copied(all, more), shmring.ErrCorrupt, "file size"},
		"wrong header":     {one, copied(all, at(40, 0xff)), shmring.ErrCorrupt, "checksum"},
		"wrong magic":      {one, copied(all, at(0, 0)), shmring.ErrFormat, "magic"},
		"semaphores":       {one, copied(all, semaphores), shmring.ErrCorrupt, "doorbell is sysv, want futex or poll"},
		"lock files":       {one, copied(all, lockFiles), shmring.ErrCorrupt, "locks is flock, want ofd"},
		"header too short": {one, copied(all, first), shmring.ErrTruncated, "100 bytes"},
	}
}

// Descriptors that come a few at a time, with each byte, are no more than fit into one frame.
func TestReceiveSealedBoundsDescriptors(t *testing.T) {
	s := newSealed(t, nil)
	ring, err := s.File()
	require.NoError(t, err)
	defer ring.Close()
	before := openFiles(t)
	_, err = received(t, nil, func(conn *net.UnixConn) {
		fd := int(ring.Fd())
		for _, b := range offer(s, 1) {
			if _, _, err := conn.WriteMsgUnix([]byte{b}, unix.UnixRights(fd, fd, fd), nil); err != nil {
				return
			}
		}
	})
	require.ErrorIs(t, err, shmring.ErrRefused)
	require.ErrorContains(t, err, "9 came, at most 8")
	require.ElementsMatch(t, before, openFiles(t))
}

// A frame that comes byte by byte is as good; who says nothing is given up.
func TestHandOverIsBounded(t *testing.T) {
	s := newSealed(t, nil)
	ring, err := s.File()
	require.NoError(t, err)
	defer ring.Close()
	r, err := received(t, nil, func(conn *net.UnixConn) {
		rights := unix.UnixRights(int(ring.Fd()))
		for _, b := range offer(s, 1) {
			_, _, err := conn.WriteMsgUnix([]byte{b}, rights, nil)
			require.NoError(t, err)
			rights = nil
		}
	})
	require.NoError(t, err)
	require.NoError(t, r.Close())

	silent := &shmring.HandOver{Timeout: 20 * time.Millisecond}
	giver, taker := sockets(t)
	_, err = shmring.ReceiveSealed(soon(t), taker, silent)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "HandOver.Timeout")
	err = s.HandOver(soon(t), giver, silent)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	r, err = shmring.ReceiveSealed(soon(t), taker, nil) // what was offered is there still
	require.NoError(t, err)
	require.NoError(t, r.Close())
	ctx, cancel := context.WithCancelCause(soon(t))
	why := errors.New("why")
	cancel(why)
	_, err = shmring.ReceiveSealed(ctx, taker, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, why)
	_, err = shmring.ReceiveSealed(soon(t), taker, &shmring.HandOver{Timeout: -1})
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorIs(t, s.HandOver(soon(t), giver, &shmring.HandOver{Role: "king"}), fs.ErrInvalid)
}

// What the taker does not want, or says wrongly, the giver is told.
func TestHandOverIsRefused(t *testing.T) {
	s := newSealed(t, nil)
	given := make(chan error, 1)
	_, err := received(t, &shmring.HandOver{Role: shmring.RoleConsumer}, func(conn *net.UnixConn) {
		given <- s.HandOver(soon(t), conn, &shmring.HandOver{Role: shmring.RoleProducer})
	})
	require.ErrorIs(t, err, shmring.ErrRefused)
	require.ErrorContains(t, err, "the role producer is offered, consumer is wanted")
	err = <-given
	require.ErrorIs(t, err, shmring.ErrRefused)
	require.ErrorContains(t, err, "memfd:orders")
	answer := offer(s, 0)
	answer[9] = 2
	another := bytes.Clone(answer)
	another[20] ^= 1
	for name, c := range map[string]struct {
		answer []byte
		files  int
		err    error
	}{
		"nothing":          {nil, 0, io.EOF},
		"half":             {answer[:31], 0, io.ErrUnexpectedEOF},
		"an offer":         {offer(s, 0), 0, shmring.ErrFormat},
		"of another ring":  {another, 0, shmring.ErrFormat},
		"with descriptors": {append(append(bytes.Clone(answer[:12]), 1, 0, 0, 0), answer[16:]...), 1, shmring.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			before := openFiles(t)
			giver, taker := sockets(t)
			if c.answer != nil {
				var rights []byte
				if c.files > 0 {
					rights = unix.UnixRights(1)
				}
				_, _, err := taker.WriteMsgUnix(c.answer, rights, nil)
				require.NoError(t, err)
			}
			require.NoError(t, taker.CloseWrite())
			require.ErrorIs(t, s.HandOver(soon(t), giver, nil), c.err)
			require.NoError(t, taker.Close())
			require.NoError(t, giver.Close())
			require.ElementsMatch(t, before, openFiles(t))
		})
	}
}

// Whoever is not allowed gets nothing, and gives nothing, on both sides.
func TestHandOverChecksCredentials(t *testing.T) {
	s := newSealed(t, nil)
	other := &shmring.HandOver{AllowUIDs: []int{os.Geteuid() + 1}, AllowGIDs: []int{os.Getegid() + 1}}
	giver, taker := sockets(t)
	err := s.HandOver(soon(t), giver, other)
	bad, ok := errors.AsType[*shmring.CredentialsError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, os.Geteuid(), bad.UID)
	require.ErrorIs(t, err, shmring.ErrRefused)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NoError(t, giver.CloseWrite())
	n, err := taker.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err, "%d bytes were sent to one who may not have them", n)
	_, err = received(t, other, func(conn *net.UnixConn) { _ = s.HandOver(soon(t), conn, nil) })
	require.ErrorIs(t, err, shmring.ErrRefused)
	for _, o := range []*shmring.HandOver{{AllowUIDs: []int{os.Geteuid()}}, {AllowGIDs: []int{os.Getegid()}}} {
		r, err := received(t, o, func(conn *net.UnixConn) { _ = s.HandOver(soon(t), conn, o) })
		require.NoError(t, err)
		require.NoError(t, r.Close())
	}
}

// listen is a listener at an abstract address of its own.
func listen(t *testing.T) (*net.UnixListener, string) {
	t.Helper()
	name := fmt.Sprintf("@shmring-test-%d-%x", os.Getpid(), rand.Uint64())
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l, name
}

// serve hands the ring over to all who come, until stop, which returns what was told.
func serve(t *testing.T, s *shmring.Sealed, o shmring.HandOver) (name string, told chan error, stop func()) {
	l, name := listen(t)
	told = make(chan error, 1000)
	o.Told = func(err error) { told <- err }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, &o) }()
	return name, told, func() {
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		require.NoError(t, l.Close())
	}
}

// One who connects and says nothing holds up nobody.
func TestServe(t *testing.T) {
	before := openFiles(t)
	s := newSealed(t, &shmring.Options{Kind: shmring.KindMPSC})
	name, told, stop := serve(t, s, shmring.HandOver{Role: shmring.RoleProducer, Timeout: time.Minute})
	silent, err := net.Dial("unix", name)
	require.NoError(t, err)
	for range 10 {
		r, err := shmring.DialSealed(soon(t), name, nil)
		require.NoError(t, err)
		require.NoError(t, <-told)
		p, err := r.OpenProducer(soon(t), nil)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.NoError(t, p.Close())
	}
	stop()
	require.ErrorIs(t, <-told, context.Canceled)
	require.NoError(t, silent.Close())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = shmring.DialSealed(ctx, "@shmring-test-nobody", nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, unix.ECONNREFUSED)
	require.NoError(t, s.Close())
	l, _ := listen(t)
	require.NoError(t, l.Close())
	require.ErrorIs(t, s.Serve(t.Context(), l, nil), net.ErrClosed)
	require.ElementsMatch(t, before, openFiles(t))
}

// sealedChild begins what a child is told that has to do with sealed rings.
const sealedChild = "sealed-"

func sealedChildren(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch args[0] {
	case sealedChild + "take": // NAME: takes the ring and says how that went
		r, err := shmring.DialSealed(ctx, args[1], &shmring.HandOver{AllowUIDs: []int{0, os.Getuid()}})
		if err != nil {
			fmt.Println("failed:", err)
			return nil
		}
		p, err := r.OpenProducer(ctx, nil)
		if err != nil {
			return err
		}
		if err := p.Send(ctx, []byte("from a child")); err != nil {
			return err
		}
		fmt.Println("sent")
		return errors.Join(p.Close(), r.Close())
	case sealedChild + "observe": // NAME: takes the ring and says what it sees
		return observeSealed(ctx, args[1])
	case sealedChild + "mute": // NAME: connects, says nothing, and waits to be killed
		_, err := net.Dial("unix", args[1])
		fmt.Println("connected")
		<-ctx.Done()
		return err
	case sealedChild + "half": // NAME: listens, sends half an offer, and waits to be killed
		l, err := net.Listen("unix", args[1])
		if err != nil {
			return err
		}
		fmt.Println("listening")
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		if _, err := conn.Write([]byte("shmring\xf1\x01")); err != nil {
			return err
		}
		fmt.Println("sent half")
		<-ctx.Done()
	case sealedChild + "inherit":
		r, err := shmring.OpenSealed(ctx, os.NewFile(3, "ring"), nil)
		if err != nil {
			return err
		}
		p, err := r.OpenProducer(ctx, nil)
		if err != nil {
			return err
		}
		return errors.Join(p.Send(ctx, []byte("inherited")), p.Close(), r.Close())
	case sealedChild + "confined": // DIR: without /proc, and says what comes of it
		return confined(ctx, args[1])
	case sealedChild + "serve": // NAME RING: makes a ring, serves it, and consumes for ever
		return serveForEver(ctx, args[1], args[2])
	case sealedChild + "send": // NAME: takes the ring and sends for ever
		return sendForEver(ctx, args[1])
	}
	return fmt.Errorf("what is %q", args)
}

// observeSealed says what it observes of a ring that is handed over, from the oldest on, until the message "end".
func observeSealed(ctx context.Context, name string) error {
	r, err := shmring.DialSealed(ctx, name, &shmring.HandOver{AllowUIDs: []int{0, os.Getuid()}})
	if err != nil {
		return err
	}
	o, err := r.OpenObserver(ctx, &shmring.ObserverOptions{From: shmring.FromOldest})
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	for {
		m, err := o.Next(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("%d %d %q\n", m.Sequence, m.Missed, m.Bytes)
		if string(m.Bytes) == "end" {
			return o.Close()
		}
	}
}

// confined makes and takes rings in a directory that is all it can see.
func confined(ctx context.Context, dir string) error {
	if err := unix.Chroot(dir); err != nil {
		return err
	}
	_, err := shmring.OpenSealed(ctx, os.NewFile(3, "ring"), nil)
	fmt.Println(errors.Is(err, shmring.ErrUnsupported), err)
	s, err := shmring.NewSealed(ctx, "own", nil)
	if err != nil {
		return err
	}
	_, err = s.OpenProducer(ctx, nil)
	fmt.Println(errors.Is(err, shmring.ErrUnsupported), err)
	o, err := s.OpenObserver(ctx, nil) // that goes
	if err != nil {
		return err
	}
	return errors.Join(o.Close(), s.Close())
}

func serveForEver(ctx context.Context, address, name string) error {
	s, err := shmring.NewSealed(ctx, name, &shmring.Options{Kind: shmring.KindMPSC, Slots: 64})
	if err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: address, Net: "unix"})
	if err != nil {
		return err
	}
	go func() { _ = s.Serve(ctx, l, nil) }()
	c, err := s.OpenConsumer(ctx, nil)
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		if _, err := c.Receive(ctx, make([]byte, 100)); err != nil {
			return err
		}
		if n == 0 {
			fmt.Println("received by", s.Info().Name)
		}
	}
}

func sendForEver(ctx context.Context, address string) error {
	r, err := shmring.DialSealed(ctx, address, nil)
	if err != nil {
		return err
	}
	p, err := r.OpenProducer(ctx, nil)
	if err != nil {
		return err
	}
	for {
		if err := p.Send(ctx, make([]byte, 100)); err != nil {
			return err
		}
	}
}

// line is the next that a child says.
func line(t *testing.T, out interface {
	Scan() bool
	Text() string
}) string {
	t.Helper()
	require.True(t, out.Scan(), "the child has ended")
	return out.Text()
}

func TestSealedBetweenProcesses(t *testing.T) {
	s := newSealed(t, nil)
	c, err := s.OpenConsumer(soon(t), nil)
	require.NoError(t, err)
	defer c.Close()
	name, told, stop := serve(t, s, shmring.HandOver{})
	defer stop()
	_, out := spawn(t, sealedChild+"take", name)
	require.Equal(t, "sent", line(t, out))
	require.NoError(t, <-told)
	buf := make([]byte, 100)
	n, err := c.Receive(soon(t), buf)
	require.NoError(t, err)
	require.Equal(t, "from a child", string(buf[:n]))
	_, err = c.Receive(soon(t), buf)
	require.Equal(t, io.EOF, err)

	f, err := s.File()
	require.NoError(t, err)
	defer f.Close()
	cmd := exec.CommandContext(soon(t), "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+sealedChild+"inherit")
	cmd.ExtraFiles = []*os.File{f}
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", text)
	n, err = c.Receive(soon(t), buf)
	require.NoError(t, err)
	require.Equal(t, "inherited", string(buf[:n]))
}

// Where /proc is missing a ring cannot be used, and the error says what to do. Only root can take
// it away; package shm has a test of it for others.
func TestSealedWithoutProc(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	f, err := newSealed(t, nil).File()
	require.NoError(t, err)
	defer f.Close()
	cmd := exec.CommandContext(soon(t), "/proc/self/exe")
	cmd.Env = append(os.Environ(), childEnv+"="+sealedChild+"confined "+t.TempDir())
	cmd.ExtraFiles = []*os.File{f}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		require.Regexp(t, "^true .*mount /proc", line)
	}
	require.Equal(t, 2, strings.Count(string(out), "\n"))
}

// Another user gets the ring exactly if it may. Only root can be somebody else, so elsewhere
// TestHandOverChecksCredentials has to do.
func TestHandOverToAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	const nobody = 65534
	s := newSealed(t, nil)
	c, err := s.OpenConsumer(soon(t), nil)
	require.NoError(t, err)
	defer c.Close()
	take := func(o shmring.HandOver) (text string, told error) {
		name, ended, stop := serve(t, s, o)
		defer stop()
		cmd := exec.CommandContext(soon(t), "/proc/self/exe")
		cmd.Env = append(os.Environ(), childEnv+"="+sealedChild+"take "+name)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out), <-ended
	}
	text, told := take(shmring.HandOver{})
	require.Contains(t, text, "failed: shmring: hand over")
	require.ErrorContains(t, told, "uid 65534, gid 65534 is not allowed, but uids [0] and gids []")
	require.ErrorIs(t, told, fs.ErrPermission)
	for _, o := range []shmring.HandOver{{AllowUIDs: []int{nobody}}, {AllowGIDs: []int{nobody}}} {
		text, told = take(o)
		require.Equal(t, "sent\n", text)
		require.NoError(t, told)
		_, err = c.Receive(soon(t), make([]byte, 100))
		require.NoError(t, err)
		_, err = c.Receive(soon(t), nil)
		require.Equal(t, io.EOF, err)
	}
}

// A peer that is killed in the middle of a hand-over is gone, and that is said at once.
func TestHandOverPeerIsKilled(t *testing.T) {
	s := newSealed(t, nil)
	name, told, stop := serve(t, s, shmring.HandOver{Timeout: time.Hour})
	defer stop()
	cmd, out := spawn(t, sealedChild+"mute", name)
	require.Equal(t, "connected", line(t, out))
	require.NoError(t, cmd.Process.Kill())
	select {
	case err := <-told:
		require.ErrorContains(t, err, fmt.Sprintf("pid %d", cmd.Process.Pid))
		require.True(t, errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE), "%v", err)
	case <-soon(t).Done():
		t.Fatal("the giver waits for a dead taker")
	}
	address := name + "-half"
	cmd, out = spawn(t, sealedChild+"half", address)
	require.Equal(t, "listening", line(t, out))
	failed := make(chan error, 1)
	go func() {
		_, err := shmring.DialSealed(soon(t), address, &shmring.HandOver{Timeout: time.Hour})
		failed <- err
	}()
	require.Equal(t, "sent half", line(t, out))
	require.NoError(t, cmd.Process.Kill())
	err := <-failed
	require.True(t, errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET), "%v", err)
}

var sealedKills = flag.Int("sealed.kills", 0, "how often TestSealedBothEndsAreKilled kills both ends; 0: "+
	"20 times, or fewer where those take too long, but each end first, before a message went through and after")

// Nothing is left of a sealed ring whose users were all killed, wherever they were: no file, no
// memory that anybody has. That it has no set of semaphores TestSealedHasNoSemaphores shows.
func TestSealedBothEndsAreKilled(t *testing.T) {
	noInsisting(t)
	before := openFiles(t)
	const ways, few, enough = 4, 20, 10 * time.Second
	begin := time.Now()
	for i := range cmp.Or(*sealedKills, few) {
		if *sealedKills == 0 && i >= ways && time.Since(begin) > enough {
			break
		}
		ok := t.Run("", func(t *testing.T) {
			address := fmt.Sprintf("@shmring-kill-%d-%d-%x", os.Getpid(), i, rand.Uint64())
			ring := fmt.Sprintf("kill-%d-%d", os.Getpid(), i)
			server, out := spawn(t, sealedChild+"serve", address, ring)
			sender, _ := spawn(t, sealedChild+"send", address)
			if i%2 == 0 {
				require.Equal(t, "received by memfd:"+ring, line(t, out))
				require.NotEmpty(t, holders(ring))
			}
			time.Sleep(time.Duration(rand.IntN(10_000)) * time.Microsecond) // where they are is up to chance
			first, second := server, sender
			if i%4 < 2 {
				first, second = sender, server
			}
			require.NoError(t, first.Process.Kill())
			require.NoError(t, second.Process.Kill())
			_ = first.Wait()
			_ = second.Wait()
			require.Empty(t, holders(ring), "somebody has the memory of a ring that nobody uses")
			named, err := filepath.Glob("/dev/shm/*" + ring + "*")
			require.NoError(t, err)
			require.Empty(t, named)
		})
		if !ok {
			break // each could take as long as this one
		}
	}
	require.ElementsMatch(t, before, openFiles(t))
}

// holders finds who has a memfd of that name open or mapped.
func holders(name string) (list []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, link := range links {
		if what, _ := os.Readlink(link); strings.HasPrefix(what, "/memfd:"+name+" ") {
			list = append(list, link)
		}
	}
	maps, _ := filepath.Glob("/proc/[0-9]*/maps")
	for _, path := range maps {
		if b, _ := os.ReadFile(path); bytes.Contains(b, []byte("/memfd:"+name+" ")) {
			list = append(list, path)
		}
	}
	return list
}
