package docs

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// The peer in peer.py was written from LAYOUT.md. It understands us and we understand it.

func peer(t *testing.T, args ...string) *exec.Cmd {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	return exec.CommandContext(t.Context(), python, append([]string{"peer.py"}, args...)...)
}

func peerOptions(t *testing.T) *shmring.Options {
	t.Setenv("SHMRING_LOCKS", "")
	return &shmring.Options{Dir: t.TempDir(), Doorbell: shmring.DoorbellFutex, Slots: 64, SlotSize: 128}
}

func TestPeerReceives(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := shmring.OpenProducer(ctx, "peer", peerOptions(t))
	require.NoError(t, err)
	if p.Info().Locks != "ofd" {
		t.Skip("no OFD locks")
	}
	cmd := peer(t, "receive", p.Info().Path)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	require.NoError(t, cmd.Start())
	var want strings.Builder
	expect := func(m []byte) {
		fmt.Fprintf(&want, "%d %08x\n", len(m), crc32.Checksum(m, crc32.MakeTable(crc32.Castagnoli)))
	}
	for i := range 300 { // several laps, padding, long and short messages
		m := bytes.Repeat([]byte{byte(i)}, i*7%1000)
		require.NoError(t, p.Send(ctx, m))
		expect(m)
		if i%50 == 0 {
			time.Sleep(20 * time.Millisecond) // it falls asleep
		}
	}
	batch := [][]byte{[]byte("a"), {}, bytes.Repeat([]byte("b"), 99)}
	_, err = p.SendBatch(ctx, batch)
	require.NoError(t, err)
	for _, m := range batch {
		expect(m)
	}
	require.NoError(t, p.Close())
	require.NoError(t, cmd.Wait(), errOut.String())
	require.Equal(t, want.String(), out.String())
}

func TestPeerSends(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := peerOptions(t)
	o.Mode = shmring.ModeOpenOrCreate
	c, err := shmring.OpenConsumer(ctx, "peer", o)
	require.NoError(t, err)
	defer c.Close()
	if c.Info().Locks != "ofd" {
		t.Skip("no OFD locks")
	}
	texts := []string{"", "hello", strings.Repeat("long", 100)}
	cmd := peer(t, append([]string{"send", c.Info().Path}, texts...)...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	require.NoError(t, cmd.Start())
	buf := make([]byte, 1000)
	for _, want := range texts {
		n, err := c.Receive(ctx, buf)
		require.NoError(t, err, errOut.String())
		require.Equal(t, want, string(buf[:n]))
	}
	_, err = c.Receive(ctx, buf)
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, cmd.Wait(), errOut.String())
}

func TestPeerIsToldOfFates(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := peerOptions(t)
	var path string
	var want strings.Builder
	for i := range 30 { // without a consumer: the ring tells 24 of them apart
		o.KeepStream = i%2 == 1
		p, err := shmring.OpenProducer(ctx, "peer", o)
		require.NoError(t, err)
		if p.Info().Locks != "ofd" {
			t.Skip("no OFD locks")
		}
		path = p.Info().Path
		require.NoError(t, p.Send(ctx, nil))
		fate := "left"
		switch {
		case i == 29:
			require.NoError(t, p.CloseSend())
		case i%2 == 0:
			require.NoError(t, p.FailSend())
			fate = "failed"
		}
		require.NoError(t, p.Close())
		switch {
		case i < 9 || 15 <= i && i < 29:
			fmt.Fprintf(&want, "stream %d: %s\n", i+1, fate)
		case i == 14: // the worst of 10 to 15
			fmt.Fprintf(&want, "stream 15: failed\n")
		}
	}
	cmd := peer(t, "receive", path)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	require.NoError(t, cmd.Run(), errOut.String())
	require.Equal(t, want.String(), errOut.String())
	require.Equal(t, 30, strings.Count(out.String(), "\n"))
	// The one after it, a Go consumer, hears nothing again.
	c, err := shmring.OpenConsumer(ctx, "peer", o)
	require.NoError(t, err)
	defer c.Close()
	_, err = c.TryReceive(nil)
	require.Equal(t, shmring.ErrEmpty, err)
}
