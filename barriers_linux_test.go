package shmring_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/internal/seccomp"
)

// unfenced is how many messages go either way in TestWithoutBarriers: more than it takes to think of plain stores.
const unfenced = 3000

// A process to which the system refuses barriers does its part on an MPSC ring whose producers have stored plainly: it
// takes the place of a consumer that had promised to fence, gives up a claim, and is a producer.
func TestWithoutBarriers(t *testing.T) {
	dir, ctx := ringDir(t), soon(t)
	o := &shmring.Options{Dir: dir, Kind: shmring.KindMPSC, Slots: 64, SlotSize: 640, KeepStream: true, WaitForRole: true}
	p, err := shmring.OpenProducer(ctx, "r", o)
	require.NoError(t, err)
	defer p.Close()
	c, err := shmring.OpenConsumer(ctx, "r", o)
	require.NoError(t, err)
	for i := range unfenced { // by now it stores plainly, where that can be
		require.NoError(t, p.Send(ctx, numbered(i)))
		require.NoError(t, due(ctx, c, i))
	}
	require.NoError(t, c.Close())

	child, said := spawn(t, dir, 0, 0, "unfenced")
	for i := range unfenced {
		require.NoError(t, p.Send(ctx, numbered(i)))
	}
	held, err := p.Claim(ctx, 8)
	require.NoError(t, err)
	other, err := shmring.OpenProducer(ctx, "r", o)
	require.NoError(t, err)
	defer other.Close()
	require.NoError(t, other.Send(ctx, numbered(unfenced)))
	require.True(t, said.Scan(), "it has ended")
	if why := said.Text(); why != "skipped" {
		t.Skip(why)
	}
	require.ErrorIs(t, held.Commit(), shmring.ErrRevoked)
	require.NoError(t, p.Close())

	c, err = shmring.OpenConsumer(ctx, "r", o)
	require.NoError(t, err)
	require.NoError(t, due(ctx, c, unfenced), "again: it was not released before the owner had closed its handle")
	for i := range unfenced {
		require.NoError(t, due(ctx, c, i))
	}
	require.NoError(t, child.Wait())
	require.NoError(t, c.Close())
}

// due receives the message of that number.
func due(ctx context.Context, c *shmring.Consumer, i int) error {
	buf := make([]byte, 640)
	n, err := c.Receive(ctx, buf)
	if err == nil && string(buf[:n]) != string(numbered(i)) {
		err = fmt.Errorf("not message %d, but %d bytes", i, n)
	}
	return err
}

// withoutBarriers is the other process: it receives, gives up the claim that comes next, and sends.
func withoutBarriers(ctx context.Context, dir string) error {
	if err := seccomp.Refuse(unix.EPERM, unix.SYS_MEMBARRIER); err != nil {
		fmt.Println(err)
		return nil
	}
	o := &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOnly, KeepStream: true, WaitForRole: true}
	c, err := shmring.OpenConsumer(ctx, "r", o)
	if err != nil {
		return err
	}
	for i := range unfenced {
		if err := due(ctx, c, i); err != nil {
			return err
		}
	}
	for c.Stats().Stalled == nil { // the first waits are what finds it
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		_, err := c.Receive(short, nil)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("nothing is next: %w", err)
		}
	}
	if _, err := shmring.ForceSkip(ctx, "r", c.Stats().Stalled.Position, &shmring.AdminOptions{Dir: dir}); err != nil {
		return err
	}
	if err := errors.Join(due(ctx, c, unfenced), c.Close()); err != nil {
		return err
	}
	fmt.Println("skipped")
	p, err := shmring.OpenProducer(ctx, "r", o)
	if err != nil {
		return err
	}
	for i := range unfenced {
		if err := p.Send(ctx, numbered(i)); err != nil {
			return err
		}
	}
	return p.Close()
}
