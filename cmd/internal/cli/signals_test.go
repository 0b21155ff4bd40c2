package cli

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// followed is what came of some signals: of each the milliseconds from the begin on.
func followed(t *testing.T, h *hangups, signals map[int]os.Signal) (aborted time.Duration, first error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		arriving := make(chan os.Signal)
		begin := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			e := &ends{h, func(cause error) { require.NoError(t, first); first = cause },
				func() { aborted = time.Since(begin) }}
			e.follow(arriving)
		}()
		for ms := range 2000 {
			if s, ok := signals[ms]; ok {
				select {
				case arriving <- s:
				case <-done:
				}
			}
			time.Sleep(time.Millisecond)
		}
		close(arriving)
		<-done
	})
	return aborted, first
}

func TestSignalsThatFollowAtOnceAreTheFirst(t *testing.T) {
	term, interrupt, hup := syscall.SIGTERM, os.Interrupt, syscall.SIGHUP
	for _, c := range []struct {
		signals map[int]os.Signal
		first   error
		aborted time.Duration
	}{
		{nil, nil, 0},
		{map[int]os.Signal{0: term}, ErrTerminated, 0},
		{map[int]os.Signal{0: interrupt}, ErrInterrupted, 0},
		{map[int]os.Signal{0: hup}, ErrInterrupted, 0},
		{map[int]os.Signal{0: term, 1: term, 2: hup, 499: interrupt}, ErrTerminated, 0},
		{map[int]os.Signal{0: interrupt, 1: term}, ErrInterrupted, 0},
		{map[int]os.Signal{0: term, 500: term}, ErrTerminated, 500 * time.Millisecond},
		{map[int]os.Signal{7: term, 300: term, 600: hup, 700: term}, ErrTerminated, 600 * time.Millisecond},
	} {
		aborted, first := followed(t, &hangups{}, c.signals)
		require.Equal(t, c.first, first, "%v", c.signals)
		require.Equal(t, c.aborted, aborted, "%v", c.signals)
	}
}

// A SIGHUP that asks for files to be opened anew is neither a first signal nor a second.
func TestHangupsThatAskDoNotEnd(t *testing.T) {
	h := &hangups{signals: make(chan os.Signal), asked: make(chan struct{}, 1)}
	h.taken.Store(true)
	aborted, first := followed(t, h, map[int]os.Signal{0: syscall.SIGHUP, 1: syscall.SIGHUP, 900: syscall.SIGTERM,
		1800: syscall.SIGHUP})
	require.Equal(t, ErrTerminated, first)
	require.Zero(t, aborted)
	require.Len(t, h.asked, 1)
	require.Nil(t, Hangups(context.Background()), "nobody listens to signals")
}
