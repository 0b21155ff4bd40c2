package shmring_test

import (
	"context"
	"io"
	"io/fs"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

func requireOptionError(t *testing.T, err error) *shmring.OptionError {
	var e *shmring.OptionError
	require.ErrorAs(t, err, &e)
	require.ErrorIs(t, err, fs.ErrInvalid)
	return e
}

// Every number and every enumeration that cannot be is refused under the name by which the
// user set it, before anything is touched.
func TestNonsenseIsRefused(t *testing.T) {
	for want, o := range map[string]shmring.Options{
		"Options.Mode is 99, want ModeDefault,":                       {Mode: 99},
		"Options.Mode is -1, want ModeDefault,":                       {Mode: -1},
		"Options.Kind is 4, want 0, KindSPSC, KindMPSC, KindBroadcas": {Kind: 4},
		"Options.Slots is 1000, want 0 or a power of two, 8 to":       {Slots: 1000},
		"Options.Slots is 4, want 0 or a power of two, 8 to":          {Slots: 4},
		"Options.Slots is -8, want 0 or a power of two, 8 to":         {Slots: -8},
		"Options.SlotSize is 100, want 0, NoPayload or a multiple":    {SlotSize: 100},
		"Options.SlotSize is -64, want 0, NoPayload or a multiple":    {SlotSize: -64},
		"Options.SlotSize is 33554432, want":                          {SlotSize: 32 << 20},
		"Options.MaxMessage is -1, want 0 or more":                    {MaxMessage: -1},
		"Options.MaxProducers is 500, want 1 to 254":                  {Kind: shmring.KindMPSC, MaxProducers: 500},
		"Options.MaxProducers is -1, want 1 to 254":                   {MaxProducers: -1},
		"Options.MaxProducers is 2, want 1 with KindSPSC":             {Kind: shmring.KindSPSC, MaxProducers: 2},
		"Options.Perm is 0666, want no write permission":              {Perm: 0o666},
		"Options.Perm is drwx------, want permission bits only":       {Perm: 0o700 | fs.ModeDir},
		"Options.Doorbell is 4, want DoorbellAuto, DoorbellFutex,":    {Doorbell: 4},
		"Options.WaitPolicy is 99, want WaitBalanced, WaitSleep,":     {WaitPolicy: 99},
		"Options.SpinFor is -1ns, want 0 or more; WaitPolicy is":      {SpinFor: -1},
		"Options.MaxSleep is -1s, want 0, or 1ms or more":             {MaxSleep: -time.Second},
		"Options.MaxSleep is 10µs, want 0, or 1ms or more":            {MaxSleep: 10 * time.Microsecond},
		"Options.WhenFull is 99, want WhenFullBlock, WhenFullFail,":   {WhenFull: 99},
		"Options.WhenFull is 256, want WhenFullBlock, WhenFullFail,":  {WhenFull: 256},
		"Options.SendTimeout is -1s, want 0 or more":                  {SendTimeout: -time.Second},
		"Options.ExpectedProducers is -3, want 0 or more":             {ExpectedProducers: -3},
		"Options.Delivery is 2, want DeliveryAtLeastOnce, DeliveryAt": {Delivery: 2},
	} {
		o.Dir = "/nonexistent"
		_, err := o.Size()
		e := requireOptionError(t, err)
		require.ErrorContains(t, err, "shmring: "+want)
		_, err = shmring.OpenProducer(t.Context(), "r", &o)
		require.Equal(t, e, err)
		_, err = shmring.OpenConsumer(t.Context(), "r", &o)
		require.Equal(t, e, err)
	}
	for want, o := range map[string]shmring.PollerOptions{
		"PollerOptions.WaitPolicy is 4": {WaitPolicy: 4},
		"PollerOptions.SpinFor is -1ns": {SpinFor: -1},
		"PollerOptions.MaxSleep is 1ns": {MaxSleep: 1},
	} {
		_, err := shmring.NewPoller(&o)
		requireOptionError(t, err)
		require.ErrorContains(t, err, want)
	}
}

// Options that are fine one by one and make no ring together. Of a ring that exists the
// limits are its own.
func TestImpossibleGeometry(t *testing.T) {
	for want, o := range map[string]shmring.Options{
		"Options.MaxMessage is 49, want 0 to 48":         {SlotSize: shmring.NoPayload, MaxMessage: 49},
		"Options.MaxMessage is 4194304, want 0 to":       {MaxMessage: 4 << 20},
		"a ring with these Options.Slots and Options.Sl": {Slots: 1 << 30, SlotSize: 16 << 20},
	} {
		_, err := o.Size()
		requireOptionError(t, err)
		require.ErrorContains(t, err, want)
	}
	dir := ringDir(t)
	openProducer(t, &shmring.Options{Dir: dir, Slots: 8, SlotSize: 1 << 20, MaxMessage: 8 << 20})
	openConsumer(t, &shmring.Options{Dir: dir, MaxMessage: 8 << 20})
}

// Whatever a handle returns that is more than "not now" says which ring it is about.
func TestErrorsNameTheRing(t *testing.T) {
	dir := ringDir(t)
	ctx := soon(t)
	o := shmring.Options{Dir: dir, Slots: 8, SendTimeout: time.Millisecond}
	p, err := shmring.OpenProducer(ctx, "orders", &o)
	require.NoError(t, err)
	c, err := shmring.OpenConsumer(ctx, "orders", &o)
	require.NoError(t, err)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()

	_, err = shmring.OpenProducer(ctx, "orders", &o)
	require.EqualError(t, err, "shmring: ring orders: there is a producer already (pid "+strconv.Itoa(os.Getpid())+
		"); this ring admits one")
	_, err = shmring.OpenConsumer(ctx, "orders", &o)
	require.ErrorContains(t, err, "shmring: ring orders: there is a consumer already")
	_, err = shmring.OpenConsumer(cancelled, "orders", &o)
	require.ErrorContains(t, err, "shmring: ring orders: open: context canceled")
	err = shmring.Remove(cancelled, "orders", at(dir))
	require.ErrorContains(t, err, "orders.shmring: busy")
	require.ErrorIs(t, err, context.Canceled)
	_, err = shmring.ForceSkip(ctx, "orders", shmring.Position{}, at(dir))
	require.ErrorContains(t, err, "orders.shmring: nothing was skipped")

	_, err = c.Receive(cancelled, nil)
	require.EqualError(t, err, "shmring: ring orders: receive: context canceled")
	err = p.Send(ctx, make([]byte, 1<<20))
	require.EqualError(t, err, "shmring: ring orders: message of 1048576 bytes is too large: "+
		"this ring takes at most 2048 (MaxMessage, fixed when it was created)")
	sent := 0
	for ; p.TrySend(nil) == nil; sent++ {
	}
	require.ErrorContains(t, p.Send(ctx, nil), "shmring: ring orders: send: context deadline exceeded: send timeout")
	_, err = p.Claim(cancelled, 1)
	require.ErrorContains(t, err, "shmring: ring orders: claim: context canceled")
	require.Equal(t, shmring.ErrFull, p.TrySend(nil), "not now is not news")
	require.NoError(t, p.FailSend())
	require.NoError(t, p.Close())
	for range sent {
		_, err = c.TryReceive(nil)
		require.NoError(t, err)
	}
	_, err = c.TryReceive(nil)
	require.EqualError(t, err, "shmring: ring orders: producer (pid "+strconv.Itoa(os.Getpid())+
		") says that what it sent is not the whole")
	require.ErrorIs(t, err, shmring.ErrFailed)

	p, err = shmring.OpenProducer(ctx, "orders", &o)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	_, err = c.Receive(ctx, nil)
	require.Equal(t, io.EOF, err)

	require.NoError(t, os.Remove(c.Info().Path))
	require.ErrorIs(t, c.Check(), shmring.ErrOrphaned)
	require.ErrorContains(t, c.Check(), "orders.shmring")
	require.NoError(t, c.Close())
}

// An open that waited for its role in vain says for whom, in one line.
func TestWaitedForRoleInVain(t *testing.T) {
	dir := ringDir(t)
	o := shmring.Options{Dir: dir}
	p, err := shmring.OpenProducer(soon(t), "r", &o)
	require.NoError(t, err)
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	o.WaitForRole = true
	_, err = shmring.OpenProducer(ctx, "r", &o)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	var busy *shmring.BusyError
	require.ErrorAs(t, err, &busy)
	require.Equal(t, os.Getpid(), busy.PID)
	require.NotContains(t, err.Error(), "\n")
}
