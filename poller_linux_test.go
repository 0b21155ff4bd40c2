package shmring_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

func threadsNow(t *testing.T) int {
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	return len(tasks)
}

// A thousand rings, one goroutine, no thread for each; every ring is heard.
func TestPollerOfThousand(t *testing.T) {
	rings := 1000
	if testing.Short() {
		rings = 100
	}
	dir := ringDir(t)
	poller, err := shmring.NewPoller(nil)
	require.NoError(t, err)
	defer poller.Close()
	producers := make([]*shmring.Producer, rings)
	before := threadsNow(t)
	for i := range rings {
		o := &shmring.Options{Dir: dir, Slots: 8, SlotSize: shmring.NoPayload}
		name := fmt.Sprint("r", i)
		p, err := shmring.OpenProducer(soon(t), name, o)
		require.NoError(t, err)
		defer p.Close()
		producers[i] = p
		c, err := shmring.OpenConsumer(soon(t), name, o)
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, poller.Add(c))
	}
	require.NoError(t, poller.Blind())
	ctx := soon(t)
	go func() {
		var b [8]byte
		for round := range 5 {
			for i, p := range producers {
				binary.NativeEndian.PutUint64(b[:], uint64(round*rings+i))
				if err := p.Send(ctx, b[:]); err != nil {
					t.Error(err)
					return
				}
				if i%100 == 0 {
					time.Sleep(time.Millisecond) // so that the poller falls asleep
				}
			}
		}
	}()
	next := make([]int, rings)
	var b [8]byte
	for range 5 * rings {
		c, err := poller.Wait(ctx)
		require.NoError(t, err)
		_, err = c.TryReceive(b[:])
		require.NoError(t, err)
		got := int(binary.NativeEndian.Uint64(b[:]))
		require.Equal(t, fmt.Sprint("r", got%rings), c.Info().Name)
		require.Equal(t, next[got%rings], got/rings)
		next[got%rings]++
	}
	require.Less(t, threadsNow(t)-before, 20)
}

// Hundreds of goroutines that block take a bounded number of threads, and Close ends
// them all.
func TestManyBlocked(t *testing.T) {
	const rings = 200
	dir := ringDir(t)
	before, goroutines := threadsNow(t), runtime.NumGoroutine()
	received := make(chan error, rings)
	var consumers []*shmring.Consumer
	var producers []*shmring.Producer
	for i := range rings {
		o := &shmring.Options{Dir: dir, Slots: 8, SlotSize: shmring.NoPayload, WaitPolicy: shmring.WaitSleep}
		name := fmt.Sprint("r", i)
		p, err := shmring.OpenProducer(soon(t), name, o)
		require.NoError(t, err)
		c, err := shmring.OpenConsumer(soon(t), name, o)
		require.NoError(t, err)
		consumers, producers = append(consumers, c), append(producers, p)
		go func() {
			for {
				_, err := c.Receive(context.Background(), make([]byte, 8))
				received <- err
				if err != nil {
					return
				}
			}
		}()
	}
	for _, c := range consumers {
		for c.Stats().Sleeps == 0 {
			runtime.Gosched()
		}
	}
	require.Less(t, threadsNow(t)-before, 120)
	for _, p := range producers {
		require.NoError(t, p.Send(soon(t), []byte("x")))
	}
	for range rings {
		require.NoError(t, <-received)
	}
	for _, c := range consumers {
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-received, shmring.ErrClosed)
	}
	for _, p := range producers {
		require.NoError(t, p.Close())
	}
	for deadline := time.Now().Add(20 * time.Second); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		require.True(t, time.Now().Before(deadline), "goroutines are left")
	}
}

// What a Poller tells of its consumers.
func TestPollerNews(t *testing.T) {
	dir := ringDir(t)
	poller, err := shmring.NewPoller(&shmring.PollerOptions{MaxSleep: time.Millisecond})
	require.NoError(t, err)
	defer poller.Close()
	ctx := soon(t)
	o := &shmring.Options{Dir: dir, Slots: 8}
	p, err := shmring.OpenProducer(ctx, "r", o)
	require.NoError(t, err)
	c, err := shmring.OpenConsumer(ctx, "r", o)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, poller.Add(c))

	require.NoError(t, p.Close())
	got, err := poller.Wait(ctx)
	require.NoError(t, err)
	require.Same(t, c, got)
	_, err = c.TryNext()
	require.Equal(t, "EOF", err.Error())

	require.NoError(t, os.Remove(c.Info().Path)) // behind everybody's back
	got, err = poller.Wait(ctx)
	require.ErrorIs(t, err, shmring.ErrOrphaned)
	require.Same(t, c, got)
	require.Equal(t, 1, poller.Len())

	go c.Close()
	for !strings.Contains(fmt.Sprint(err), "closed") {
		got, err = poller.Wait(ctx)
		require.Same(t, c, got)
	}
	require.ErrorIs(t, err, shmring.ErrClosed)
	require.Zero(t, poller.Len())
	require.False(t, poller.Remove(c))
}
