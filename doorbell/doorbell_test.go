package doorbell_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

const long = 20 * time.Second // no test waits for it; a lost wake-up does

// mapping is one process's sight of a segment.
type mapping struct {
	seg  *shm.Segment
	view *layout.View
}

func (m mapping) site(space bool) doorbell.Target {
	at := doorbell.Target{Word: &m.view.Hot.DataBell, View: m.view, Segment: m.seg, Inode: m.seg.Inode()}
	if space {
		at.Word = &m.view.Hot.SpaceBell
	}
	return at
}

func (m mapping) bell(t *testing.T, space bool) doorbell.Bell {
	b, err := doorbell.New(m.view.Config.Doorbell, m.site(space))
	require.NoError(t, err)
	require.Equal(t, m.view.Config.Doorbell, b.Kind())
	return b
}

// segment makes one for a kind of bell. What belongs to it and is not in the file is
// removed with it.
func segment(t *testing.T, kind layout.Doorbell) mapping {
	cfg := layout.Config{Kind: layout.SPSC, Slots: 8, Participants: 2, Doorbell: kind}
	for i := range cfg.UUID {
		cfg.UUID[i] = byte(rand.Uint32())
	}
	size, err := cfg.Size()
	require.NoError(t, err)
	seg, err := shm.Create(t.Context(), "bell", size, &shm.Options{Dir: t.TempDir()}, func(mem []byte, _ shm.Locks) error {
		_, err := layout.Format(mem, cfg)
		return err
	})
	require.NoError(t, err)
	t.Cleanup(func() { seg.Close() })
	m := parse(t, seg)
	t.Cleanup(func() { require.NoError(t, doorbell.Remove(cfg, &m.view.Hot.Semaphores, m.file())) })
	return m
}

// file is what its set is known by.
func (m mapping) file() doorbell.File {
	return doorbell.File{Inode: m.seg.Inode(), Owner: os.Geteuid()}
}

func parse(t *testing.T, seg *shm.Segment) mapping {
	view, err := layout.Parse(seg.Bytes())
	require.NoError(t, err)
	return mapping{seg, view}
}

func (m mapping) again(t *testing.T) mapping {
	seg, err := m.seg.Reopen()
	require.NoError(t, err)
	t.Cleanup(func() { seg.Close() })
	return parse(t, seg)
}

// conformance runs a test on every kind of bell, and on both bells, with both sides on
// one mapping, and with each on its own, as two processes have it.
func conformance(t *testing.T, f func(t *testing.T, mine, theirs doorbell.Bell, word, other *atomic.Uint32)) {
	for _, kind := range []layout.Doorbell{layout.Futex, layout.SysV, layout.Poll} {
		t.Run(kind.String(), func(t *testing.T) {
			if err := doorbell.Refused(kind); err != nil {
				t.Skip(err)
			}
			t.Run("one mapping", func(t *testing.T) {
				m := segment(t, kind)
				b, word := m.bell(t, true), &m.view.Hot.SpaceBell
				f(t, b, b, word, word)
			})
			t.Run("two mappings", func(t *testing.T) {
				m := segment(t, kind)
				n := m.again(t)
				f(t, m.bell(t, false), n.bell(t, false), &m.view.Hot.DataBell, &n.view.Hot.DataBell)
			})
		})
	}
}

// naps reports a kind that finds out by looking, so that tests repeat less.
func naps(t *testing.T) bool {
	return strings.Contains(t.Name(), layout.Poll.String())
}

// rounds is how often a race is run.
func rounds(t *testing.T, most int) int {
	if naps(t) {
		most /= 50
	}
	if testing.Short() {
		most /= 10
	}
	return most
}

// asleep is a word on which somebody sleeps in round n.
func asleep(n int) uint32 { return uint32(n)*layout.BellCount | layout.BellSleeper }

// ring does what a waker of package ring does.
func ring(b doorbell.Bell, word *atomic.Uint32) {
	w := word.Load()
	if word.CompareAndSwap(w, (w+layout.BellCount)&^layout.BellSleeping) {
		b.Wake(w)
	}
}

func TestSleepComparesFirst(t *testing.T) {
	conformance(t, func(t *testing.T, mine, _ doorbell.Bell, word, _ *atomic.Uint32) {
		word.Store(3)
		for _, limit := range []time.Duration{0, long} {
			begin := time.Now()
			timedOut, err := mine.Sleep(1, limit, nil)
			require.NoError(t, err)
			require.False(t, timedOut && limit > 0)
			require.Less(t, time.Since(begin), long/2)
		}
	})
}

func TestSleepIsBounded(t *testing.T) {
	conformance(t, func(t *testing.T, mine, _ doorbell.Bell, word, _ *atomic.Uint32) {
		for _, limit := range []time.Duration{-1, 0, 20 * time.Microsecond, time.Millisecond, 15 * time.Millisecond,
			60 * time.Millisecond} {
			sleepsThrough(t, mine, 0, limit, new(atomic.Uint32))
		}
	})
}

// sleepsThrough checks that a sleep lasts as long as its limit. It may end early for no
// reason (a signal), but not always.
func sleepsThrough(t *testing.T, b doorbell.Bell, old uint32, limit time.Duration, stops ...*atomic.Uint32) {
	for range 5 {
		begin := time.Now()
		timedOut, err := b.Sleep(old, limit, stops)
		require.NoError(t, err)
		if timedOut {
			require.GreaterOrEqual(t, time.Since(begin), limit)
			require.Less(t, time.Since(begin), limit+2*time.Second)
			return
		}
	}
	require.Fail(t, "woken again and again")
}

// What sleepers, wakers and stops have left behind does not disturb the next: it sleeps
// for its time.
func TestLeftoversDoNotWake(t *testing.T) {
	conformance(t, func(t *testing.T, mine, theirs doorbell.Bell, word, other *atomic.Uint32) {
		for n := range 20 {
			old := asleep(n)
			word.Store(old)
			_, err := mine.Sleep(old, 0, nil)
			require.NoError(t, err)
			sleepsThrough(t, mine, old, 2*time.Millisecond)
			theirs.Wake(old - layout.BellCount)
			theirs.Wake(old)
			mine.Stop(new(atomic.Uint32))
			sleepsThrough(t, mine, old, 2*time.Millisecond)
		}
	})
}

// Several sleepers, one wake: all get up.
func TestWakeWakesAll(t *testing.T) {
	conformance(t, func(t *testing.T, mine, theirs doorbell.Bell, word, other *atomic.Uint32) {
		for n := range 200 {
			old := asleep(n)
			word.Store(old)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for word.Load() == old {
						if timedOut, err := mine.Sleep(old, long, nil); timedOut || err != nil {
							t.Errorf("timed out %v, %v", timedOut, err)
							return
						}
					}
				})
			}
			switch n % 3 {
			case 0:
				runtime.Gosched()
			case 1:
				time.Sleep(200 * time.Microsecond)
			}
			ring(theirs, other)
			wg.Wait()
		}
	})
}

// A wake in the middle of going to sleep.
func TestWakeRacesWithSleep(t *testing.T) {
	conformance(t, func(t *testing.T, mine, theirs doorbell.Bell, word, other *atomic.Uint32) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range rounds(t, 20000) {
				for other.Load()&layout.BellSleeper == 0 {
					runtime.Gosched()
				}
				for range rand.IntN(400) {
				}
				ring(theirs, other)
			}
		}()
		defer func() { <-done }()
		for range rounds(t, 20000) {
			old := word.Or(layout.BellSleeper) | layout.BellSleeper
			for word.Load() == old {
				timedOut, err := mine.Sleep(old, long, nil)
				require.NoError(t, err)
				require.False(t, timedOut, "a wake was lost")
			}
		}
	})
}

// Sleepers who announce themselves at different times, as many producers do: each has
// another word, and some are late.
func TestSleepersOfSeveralRounds(t *testing.T) {
	conformance(t, func(t *testing.T, mine, theirs doorbell.Bell, word, other *atomic.Uint32) {
		var over atomic.Bool
		var slept atomic.Int64
		var wg sync.WaitGroup
		for i := range 6 {
			b, w := mine, word
			if i%2 == 0 {
				b, w = theirs, other
			}
			wg.Go(func() {
				for !over.Load() {
					old := w.Or(layout.BellSleeper) | layout.BellSleeper
					if rand.IntN(4) == 0 {
						runtime.Gosched()
					}
					if over.Load() {
						return // what a ring finds when it looks once more
					}
					timedOut, err := b.Sleep(old, long, nil)
					if timedOut || err != nil {
						t.Errorf("timed out %v, %v", timedOut, err)
						return
					}
					slept.Add(1)
				}
			})
		}
		for n := 0; n < rounds(t, 5000) || slept.Load() == 0; n++ {
			ring(theirs, other)
			if rand.IntN(8) == 0 {
				time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
			}
		}
		over.Store(true)
		ring(theirs, other)
		wg.Wait()
	})
}

func TestStopEndsSleep(t *testing.T) {
	conformance(t, func(t *testing.T, mine, _ doorbell.Bell, word, _ *atomic.Uint32) {
		for range rounds(t, 20000) {
			stop := new(atomic.Uint32)
			var wg sync.WaitGroup
			wg.Go(func() {
				for range rand.IntN(2000) {
				}
				mine.Stop(stop)
			})
			for stop.Load() == 0 {
				timedOut, err := mine.Sleep(0, long, []*atomic.Uint32{stop})
				require.NoError(t, err)
				require.False(t, timedOut)
			}
			timedOut, err := mine.Sleep(0, long, []*atomic.Uint32{stop})
			require.NoError(t, err)
			require.False(t, timedOut, "it stays stopped")
			wg.Wait()
		}
	})
}

// A stop ends the sleep that it is meant for, also while others lie down and sleep on.
func TestStopAmongSleepers(t *testing.T) {
	conformance(t, func(t *testing.T, mine, theirs doorbell.Bell, word, other *atomic.Uint32) {
		word.Store(asleep(0))
		var over atomic.Uint32
		var others sync.WaitGroup
		for i := range 3 {
			b := []doorbell.Bell{mine, theirs}[i%2]
			others.Go(func() {
				for over.Load() == 0 {
					if _, err := b.Sleep(asleep(0), time.Duration(50+rand.IntN(400))*time.Microsecond,
						[]*atomic.Uint32{&over}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range rounds(t, 2000) {
			stop, halt := new(atomic.Uint32), new(atomic.Uint32)
			var wg sync.WaitGroup
			wg.Go(func() {
				time.Sleep(time.Duration(rand.IntN(50)) * time.Microsecond)
				mine.Stop(stop)
			})
			for stop.Load() == 0 {
				timedOut, err := mine.Sleep(asleep(0), long, []*atomic.Uint32{halt, stop})
				require.NoError(t, err)
				require.False(t, timedOut, "a stop was lost")
			}
			wg.Wait()
		}
		mine.Stop(&over)
		theirs.Stop(&over)
		others.Wait()
	})
}

// Sleeping and stopping leaves no goroutine behind.
func TestNothingIsLeftRunning(t *testing.T) {
	conformance(t, func(t *testing.T, mine, theirs doorbell.Bell, word, other *atomic.Uint32) {
		before := runtime.NumGoroutine()
		for range 100 {
			_, err := mine.Sleep(0, 100*time.Microsecond, nil)
			require.NoError(t, err)
			theirs.Wake(0)
			mine.Stop(new(atomic.Uint32))
		}
		for begin := time.Now(); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			require.Less(t, time.Since(begin), 5*time.Second)
		}
	})
}

func TestUnknownKinds(t *testing.T) {
	for _, kind := range []layout.Doorbell{0, 99} {
		_, err := doorbell.New(kind, doorbell.Target{Word: new(atomic.Uint32)})
		require.ErrorIs(t, err, doorbell.ErrUnavailable)
		require.ErrorIs(t, doorbell.Refused(kind), doorbell.ErrUnavailable)
	}
	_, err := doorbell.New(layout.SysV, doorbell.Target{Word: new(atomic.Uint32)})
	require.ErrorIs(t, err, doorbell.ErrUnavailable)
}

// Each refusal leads to the next kind, and is kept.
func TestProbe(t *testing.T) {
	kind, refusals := doorbell.Probe()
	require.Equal(t, layout.Futex, kind)
	require.Empty(t, refusals)
	var list []layout.Doorbell
	for _, why := range []error{errors.New("no futex"), errors.New("no semaphores")} {
		list = append(list, kind)
		doorbell.Refuse(t, kind, why)
		require.ErrorIs(t, doorbell.Refused(kind), why)
		require.ErrorIs(t, doorbell.Refused(kind), doorbell.ErrUnavailable)
		kind, refusals = doorbell.Probe()
		require.Len(t, refusals, len(list))
		for i, r := range refusals {
			require.Equal(t, list[i], r.Kind)
			require.ErrorIs(t, r.Err, doorbell.ErrUnavailable)
		}
		require.ErrorIs(t, refusals[len(list)-1].Err, why)
	}
	require.Equal(t, []layout.Doorbell{layout.Futex, layout.SysV}, list)
	require.Equal(t, layout.Poll, kind)
	_, err := doorbell.New(layout.Futex, doorbell.Target{Word: new(atomic.Uint32)})
	require.ErrorIs(t, err, doorbell.ErrUnavailable)
}

// What a round trip between two goroutines costs that both sleep.
func BenchmarkRoundTrip(b *testing.B) {
	for _, kind := range []layout.Doorbell{layout.Futex, layout.SysV, layout.Poll} {
		b.Run(kind.String(), func(b *testing.B) {
			cfg := layout.Config{Kind: layout.SPSC, Slots: 8, Participants: 2, Doorbell: kind}
			size, _ := cfg.Size()
			seg := shm.Heap(int(size))
			defer seg.Close()
			view, err := layout.Format(seg.Bytes(), cfg)
			require.NoError(b, err)
			defer doorbell.Remove(cfg, &view.Hot.Semaphores, mapping{seg, view}.file())
			m := mapping{seg, view}
			ping, err := doorbell.New(kind, m.site(false))
			require.NoError(b, err)
			pong, err := doorbell.New(kind, m.site(true))
			require.NoError(b, err)
			next := func(bell doorbell.Bell, word *atomic.Uint32) {
				bell.Wake(word.Add(layout.BellCount) - layout.BellCount)
			}
			go func() {
				for i := range b.N {
					for view.Hot.DataBell.Load() == uint32(i)*layout.BellCount {
						ping.Sleep(uint32(i)*layout.BellCount, time.Second, nil)
					}
					next(pong, &view.Hot.SpaceBell)
				}
			}()
			for i := range b.N {
				next(ping, &view.Hot.DataBell)
				for view.Hot.SpaceBell.Load() == uint32(i)*layout.BellCount {
					pong.Sleep(uint32(i)*layout.BellCount, time.Second, nil)
				}
			}
		})
	}
}
