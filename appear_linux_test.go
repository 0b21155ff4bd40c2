package shmring_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
)

// opening is a consumer that waits for its ring.
type opening struct {
	c   *shmring.Consumer
	err error
}

func openLater(ctx context.Context, dir string) <-chan opening {
	opened := make(chan opening, 1)
	go func() {
		c, err := shmring.OpenConsumer(ctx, "r", &shmring.Options{Dir: dir})
		opened <- opening{c, err}
	}()
	return opened
}

func create(t *testing.T, dir string, opened <-chan opening) {
	p, err := shmring.OpenProducer(soon(t), "r", &shmring.Options{Dir: dir, Slots: 8})
	require.NoError(t, err)
	defer p.Close()
	o := <-opened
	require.NoError(t, o.err)
	require.NoError(t, o.c.Close())
}

// Who waits for a ring is told of it, and does not look again and again: here it would look
// by itself only after an hour.
func TestOpenWaitIsTold(t *testing.T) {
	watching := make(chan struct{}, 100)
	shmring.SpyOnAppear(t, time.Hour, func() error { watching <- struct{}{}; return nil })
	for range 20 {
		dir := ringDir(t)
		opened := openLater(soon(t), dir)
		<-watching
		create(t, dir, opened)
	}
	require.Empty(t, watching, "once for each")
}

// What came between the first look and the watch is not overlooked.
func TestOpenWaitLooksAgain(t *testing.T) {
	dir := ringDir(t)
	var p *shmring.Producer
	shmring.SpyOnAppear(t, time.Hour, func() (err error) {
		p, err = shmring.OpenProducer(soon(t), "r", &shmring.Options{Dir: dir, Slots: 8})
		return err
	})
	o := <-openLater(soon(t), dir)
	require.NoError(t, o.err)
	require.NoError(t, o.c.Close())
	require.NoError(t, p.Close())
}

// Where nobody tells, it looks; and when somebody can, it is told after all.
func TestOpenWaitLooks(t *testing.T) {
	tries := make(chan struct{}, 1000)
	refuse := errors.New("too many open files")
	shmring.SpyOnAppear(t, time.Hour, func() error {
		select {
		case tries <- struct{}{}:
		default:
		}
		return refuse
	})
	dir := ringDir(t)
	opened := openLater(soon(t), dir)
	for range 5 {
		<-tries
	}
	create(t, dir, opened)

	missing := filepath.Join(ringDir(t), "later")
	refuse = nil
	for len(tries) > 0 {
		<-tries
	}
	opened = openLater(soon(t), missing)
	<-tries
	require.NoError(t, os.Mkdir(missing, 0o700))
	create(t, missing, opened)
	require.NoError(t, shmring.Remove(soon(t), "r", at(missing)), "ringDir looks for rings in its own folder only")
}

// The context ends the wait, and says what was waited for.
func TestOpenWaitEnds(t *testing.T) {
	watching := make(chan struct{}, 1)
	shmring.SpyOnAppear(t, time.Hour, func() error { watching <- struct{}{}; return nil })
	ctx, cancel := context.WithCancel(t.Context())
	opened := openLater(ctx, ringDir(t))
	<-watching
	cancel()
	err := (<-opened).err
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, os.ErrNotExist)
}
