package fuzz

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
)

func FuzzHandOver(f *testing.F) {
	f.Add([]byte{0, 0, 1, 0})          // all of an offer, and its ring
	f.Add([]byte{1, 15, 1, 0, 1, 200}) // in two pieces
	f.Add([]byte{0, 1, 11, 9, 1, 0})   // one byte wrong
	for kind := range byte(8) {
		f.Add([]byte{0, 0, 1, kind})
		f.Add([]byte{0, 0, 2, kind, 0})
	}
	seeds(f, 200, 20)
	f.Fuzz(handOver)
}

func TestHandOverRandom(t *testing.T) { random(t, 20, handOver) }

// goods are what a script may send: the first is the ring that the offer speaks of.
type goods struct {
	files []int
	offer []byte
	uuid  [16]byte
}

// things makes the goods, once in a process, which keeps them.
var things = sync.OnceValue(func() *goods {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	for _, name := range []string{shmring.EnvLocks, shmring.EnvDoorbell} {
		must(os.Unsetenv(name)) // a sealed ring refuses what they insist on
	}
	s, err := shmring.NewSealed(context.Background(), "fuzz", &shmring.Options{Slots: 8, SlotSize: 64, MaxMessage: 48})
	must(err)
	file, err := s.File()
	must(err)
	ring := int(file.Fd())
	g := &goods{files: []int{ring}, uuid: s.Info().UUID}
	kept = append(kept, s, file)
	bytes := make([]byte, s.Info().Size)
	_, err = unix.Pread(ring, bytes, 0)
	must(err)
	memory := func(b []byte, seals int) {
		fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
		must(err)
		_, err = unix.Write(fd, b)
		must(err)
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		must(err)
		g.files = append(g.files, fd)
	}
	const all = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	spoiled := append([]byte(nil), bytes...)
	spoiled[atSlots]++
	memory(bytes, unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	memory(bytes, 0)
	memory(spoiled, all)
	memory(bytes[:len(bytes)-4096], all)
	memory(nil, all)
	var pipe [2]int
	must(unix.Pipe2(pipe[:], unix.O_CLOEXEC))
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(err)
	g.files = append(g.files, pipe[0], null)
	g.offer = append([]byte("shmring\xf1\x01\x01\x00\x00\x01\x00\x00\x00"), g.uuid[:]...)
	return g
})

var kept []any // for as long as the process lives

// handOver sends pieces of an offer, with what is wrong in it, and descriptors with them, and
// knows by the rules of package handover whether that is a ring. Nothing may stay open.
func handOver(t *testing.T, data []byte) {
	s := &script{data}
	g := things()
	before := openDescriptors()
	giver, taker := socketPair(t)
	sent, ok := deliver(t, s, g, giver)
	r, err := shmring.ReceiveSealed(t.Context(), taker, &shmring.HandOver{Timeout: 10 * time.Second})
	if ok != (err == nil) {
		t.Fatalf("%x, then descriptors %v: accepted should be %v: %v", sent.bytes, sent.files, ok, err)
	}
	if err == nil {
		require.Equal(t, g.uuid, r.Info().UUID)
		require.NoError(t, r.Close())
	} else if _, typed := errors.AsType[*shmring.HandOverError](err); !typed || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%T: %v", err, err)
	}
	require.NoError(t, giver.Close())
	require.NoError(t, taker.Close())
	// Fewer: what a test before this one had open, and nobody needs, is closed when the runtime likes.
	require.LessOrEqual(t, openDescriptors(), before)
}

// sent is what a script has sent.
type sent struct {
	bytes []byte
	files []int // indexes into goods, of those that came with the frame
}

// deliver sends what the script wants, and tells whether it is a ring.
func deliver(t *testing.T, s *script, g *goods, conn *net.UnixConn) (d sent, ok bool) {
	pieces := 1 + s.below(4)
	wrong := s.below(4) == 1
	all := append([]byte(nil), g.offer...)
	if wrong {
		all[s.below(len(all))] = s.byte()
	}
	for i := range pieces {
		n := len(all)
		if i < pieces-1 {
			n = min(1+s.below(len(g.offer)), n)
		} else if s.below(8) == 7 {
			n -= min(s.below(4), n) // it ends too early
		}
		var which []int
		for range s.below(4) {
			which = append(which, s.below(len(g.files)))
		}
		if s.below(16) == 15 {
			which = append(which, make([]int, 8)...) // more than can be
		}
		if n == 0 {
			break
		}
		if len(d.bytes) < len(g.offer) { // else it is behind the frame
			d.files = append(d.files, which...)
		}
		_, _, err := conn.WriteMsgUnix(all[:n], g.rights(which), nil)
		require.NoError(t, err)
		d.bytes, all = append(d.bytes, all[:n]...), all[n:]
	}
	require.NoError(t, conn.CloseWrite())
	frame := string(d.bytes)
	role := len(frame) == len(g.offer) && frame[10] <= 2
	if role {
		frame = frame[:10] + "\x00" + frame[11:] // any role will do
	}
	return d, role && frame == string(g.offer) && len(d.files) == 1 && d.files[0] == 0
}

// rights is the control message for some of the goods.
func (g *goods) rights(which []int) []byte {
	if len(which) == 0 {
		return nil
	}
	var files []int
	for _, i := range which {
		files = append(files, g.files[i])
	}
	return unix.UnixRights(files...)
}

func socketPair(t *testing.T) (a, b *net.UnixConn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	end := func(fd int) *net.UnixConn {
		f := os.NewFile(uintptr(fd), "socket")
		defer f.Close()
		c, err := net.FileConn(f)
		require.NoError(t, err)
		return c.(*net.UnixConn)
	}
	return end(fds[0]), end(fds[1])
}

// openDescriptors counts them.
func openDescriptors() (n int) {
	for fd := range 256 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil {
			n++
		}
	}
	return n
}
