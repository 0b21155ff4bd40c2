package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The processes of the laboratory are this program.
func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == childWord && os.Args[2] == "folder" {
		path, done, err := folder(os.Args[3], false)
		if err == nil {
			fmt.Print(path)
			_, err = io.Copy(io.Discard, os.Stdin)
			done()
		}
		if err != nil {
			panic(err)
		}
		return
	}
	if len(os.Args) > 2 && os.Args[1] == childWord {
		if err := child(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, os.Args[2]+":", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// From host to host, late, with losses, with links that are cut and processes that are killed: each message once.
func TestTwoHosts(t *testing.T) {
	v, err := run(t.Context(), plan{Kills: 8, Nodes: 1, Anew: 1, Pack: true, Many: true, Seed: 3, Retain: "limits",
		Window: time.Second, Rate: 20_000, Count: 2000, Hosts: true, Link: link{time.Millisecond, 0.005}, Cuts: 2,
		CutFor: 500 * time.Millisecond, Server: embedded})
	skipUnlessPermitted(t, err)
	require.NoError(t, err)
	require.NoError(t, v.err())
	require.Equal(t, 2, v.Cuts)
	require.GreaterOrEqual(t, v.Sent, uint64(2000))
	require.NotZero(t, v.Carried, "not past the wire")
	require.NotZero(t, v.Dropped)
}

// The servers are processes of NATS's own program, a cluster of them, which are killed like the rest.
func TestServersOfTheirOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("nats-server is built")
	}
	v, err := run(t.Context(), plan{Kills: 12, Nodes: 3, Anew: 1, Many: true, Seed: 5, Retain: "limits",
		Window: time.Second, Rate: 20_000, Count: 2000, Server: built})
	require.NoError(t, err)
	require.NoError(t, v.err())
	require.GreaterOrEqual(t, v.Sent, uint64(2000))
	require.NotZero(t, v.Killed["server"])
}

func TestServerThatIsNot(t *testing.T) {
	_, err := run(t.Context(), plan{Nodes: 1, Server: filepath.Join(t.TempDir(), "nats-server")})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func skipUnlessPermitted(t *testing.T, err error) {
	if errors.Is(err, errNotPermitted) {
		t.Skip(err)
	}
}

// Hosts reach each other, and nothing else; later, or not at all, if the wire is so.
func TestWire(t *testing.T) {
	const delay = 20 * time.Millisecond
	h, err := newHosts([]string{"a", "b"}, link{Delay: delay}, 1)
	skipUnlessPermitted(t, err)
	require.NoError(t, err)
	defer h.close()
	var there net.PacketConn
	require.NoError(t, h.list[1].in(func() (err error) {
		there, err = net.ListenPacket("udp", addressOf(1, 1))
		return err
	}))
	defer there.Close()
	here, err := h.list[0].Dial("udp", addressOf(1, 1))
	require.NoError(t, err)
	defer here.Close()
	send := func(n uint64) {
		_, err := here.Write(binary.LittleEndian.AppendUint64(nil, n))
		require.NoError(t, err)
	}
	receive := func() uint64 {
		b := make([]byte, 100)
		require.NoError(t, there.SetReadDeadline(time.Now().Add(patience)))
		n, _, err := there.ReadFrom(b)
		require.NoError(t, err)
		require.Equal(t, 8, n)
		return binary.LittleEndian.Uint64(b)
	}
	begin := time.Now()
	send(1)
	require.EqualValues(t, 1, receive())
	require.GreaterOrEqual(t, time.Since(begin), delay)

	for _, end := range h.wire.ends { // at either side
		before := h.wire.dropped.Load()
		end.cut.Store(true)
		send(2)
		require.Eventually(t, func() bool { return h.wire.dropped.Load() > before }, patience, time.Millisecond)
		end.cut.Store(false)
		send(3)
		require.EqualValues(t, 3, receive(), "what was sent while it was cut does not come")
	}
}

// The folders of a laboratory that was killed are removed by the next one, and those of one that lives are not.
func TestKilledLaboratory(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	in := t.TempDir()
	path, release, err := folder(in, false)
	require.NoError(t, err)
	defer release()
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)))
	_, done, err := folder(in, false)
	require.NoError(t, err)
	require.DirExists(t, path, "somebody has it")
	done()

	// One that is killed while it holds its folder.
	cmd := exec.Command(self, childWord, "folder", in)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	_, err = cmd.StdinPipe() // which it waits for the end of
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	b := make([]byte, 4096)
	n, err := out.Read(b)
	require.NoError(t, err)
	left := string(b[:n])
	require.DirExists(t, left)
	require.NoError(t, cmd.Process.Kill())
	_, err = io.Copy(io.Discard, out)
	require.NoError(t, err)
	require.Error(t, cmd.Wait())
	require.NoError(t, os.Chtimes(left, time.Time{}, time.Now().Add(-time.Hour)))
	_, done, err = folder(in, false)
	require.NoError(t, err)
	done()
	require.NoDirExists(t, left)
	rest, err := filepath.Glob(filepath.Join(in, folderName))
	require.NoError(t, err)
	require.Equal(t, []string{path}, rest)
}

func TestPart(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "0.1%": 0.001, "0.25": 0.25, "50%": 0.5} {
		got, err := parsePart(text)
		require.NoError(t, err, text)
		require.InDelta(t, want, got, 1e-12, text)
	}
	for _, text := range []string{"", "%", "1", "100%", "-1%", "x", "NaN"} {
		_, err := parsePart(text)
		require.Error(t, err, text)
	}
}
