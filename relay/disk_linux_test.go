package relay_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/relay"
	"github.com/shmring/shmring/relay/embed"
)

// A server whose disk is full does not answer for what it cannot store, and refuses what is behind that. It does so
// until it is started again, also when there is room. A relay says what it is, loses nothing, and goes on.
func TestServersDiskIsFull(t *testing.T) {
	for name, n := range map[string]int{"many": 1500, "one": 1} {
		t.Run(name, func(t *testing.T) { serversDiskIsFull(t, n) })
	}
}

// troubles are what OnTrouble was told.
type troubles struct {
	newest atomic.Pointer[error]
	wrong  atomic.Pointer[error] // the newest that speaks of a wrong sequence
	times  atomic.Int64
}

func (told *troubles) note(err error) {
	told.newest.Store(&err)
	if err != nil && strings.Contains(err.Error(), "wrong last sequence") {
		told.wrong.Store(&err)
	}
	told.times.Add(1)
}

// full tells whether the newest is that the disk is full.
func (told *troubles) full() bool {
	err := told.newest.Load()
	return err != nil && *err != nil && strings.Contains((*err).Error(), "its disk is full, or fails")
}

// serversDiskIsFull relays n messages behind those that fit.
func serversDiskIsFull(t *testing.T, n int) {
	disk := relay.SmallDisk(t, "4m")
	at, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o := &embed.Options{Listen: at.Addr().String(), MaxStore: 1 << 40} // it would look how much there is
	require.NoError(t, at.Close())
	s, err := embed.Start(deadline(t), disk, o)
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	r := &rig{t: t, dir: t.TempDir(), server: s}
	r.nc = r.connect()

	var told troubles
	p := r.producer("a", shmring.Options{})
	out, runs := r.out("a", relay.OutOptions{AckTimeout: 100 * time.Millisecond,
		Common: relay.Common{OnTrouble: told.note}})
	// A message is 2000 bytes. One at a time until nothing more fits, then the rest.
	sent := 0
	send := func() {
		b := make([]byte, 2000)
		binary.LittleEndian.PutUint64(b, uint64(sent))
		require.NoError(t, p.Send(deadline(t), b))
		sent++
	}
	for out.Stats().Messages == uint64(sent) {
		send()
		require.Eventually(t, func() bool { return out.Stats().Messages == uint64(sent) || told.full() }, soon,
			50*time.Microsecond)
	}
	require.ErrorIs(t, *told.newest.Load(), relay.ErrServer)
	full := out.Stats().Messages
	if n > 1 {
		send() // is refused, and says why: a wrong sequence, which is not what is wrong
	}
	before := told.times.Load()
	rest := make(chan struct{})
	go func() {
		defer close(rest)
		for range n - 2 {
			send()
		}
	}()
	require.Eventually(t, func() bool {
		return told.times.Load() > before+2 && (told.full() || told.wrong.Load() != nil)
	}, soon, time.Millisecond)
	if err := told.wrong.Load(); err != nil {
		require.NoError(t, *err)
	}

	require.NoError(t, unix.Mount("", disk, "", unix.MS_REMOUNT, "size=64m"))
	s.Close()
	s, err = embed.Start(deadline(t), disk, o)
	require.NoError(t, err)
	r.in("b", relay.InOptions{Durable: "d", Common: relay.Common{Stream: "a"}})
	c := r.consumer("b", shmring.Options{})
	for i := range full + uint64(n) {
		m, err := c.Next(deadline(t))
		require.NoError(t, err)
		require.Equal(t, i, binary.LittleEndian.Uint64(m.Bytes()))
		m.Release()
	}
	<-rest
	require.Eventually(t, func() bool { return out.Stats().Messages == uint64(sent) }, within, time.Millisecond)
	require.EqualValues(t, sent, r.stream("a").CachedInfo().State.LastSeq, "each once")
	require.Eventually(t, func() bool { return *told.newest.Load() == nil }, soon, time.Millisecond, "told to be over")
	runs.stop()
	require.NoError(t, runs.wait(t))
}

// A quota that is used up is a disk that is full, for that user.
func TestNotesOverTheQuota(t *testing.T) {
	err := error(&relay.NotesError{Path: "/x/.r.chain", Size: 278592, Err: &fs.PathError{Op: "fallocate",
		Path: "/x/.r.chain", Err: syscall.EDQUOT}})
	require.ErrorIs(t, err, relay.ErrNotes)
	require.ErrorIs(t, err, syscall.EDQUOT)
	require.ErrorContains(t, err, "make room for 278592 bytes there")
	require.NotErrorIs(t, err, errors.ErrUnsupported)
}
