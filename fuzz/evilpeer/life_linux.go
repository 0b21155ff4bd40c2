package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
)

// caller is a goroutine that makes calls, one after the other, and is watched while it does.
type caller struct {
	r      *report
	chance *rand.Rand
	place
	buffer, short []byte
	sum           byte
	now           atomic.Pointer[inCall]
}

type inCall struct {
	name  string
	begin time.Time
	limit time.Duration
}

func (r *report) caller(a arguments, seed uint64) *caller {
	k := &caller{
		r:      r,
		chance: rand.New(rand.NewPCG(seed, 2)),
		place:  a.place,
		buffer: make([]byte, 4096),
		short:  make([]byte, 200),
	}
	r.mu.Lock()
	r.called[k] = struct{}{}
	r.mu.Unlock()
	return k
}

// done is what a caller says last.
func (k *caller) done() {
	k.r.mu.Lock()
	delete(k.r.called, k)
	k.r.mu.Unlock()
}

func (k *caller) admin() *shmring.AdminOptions { return &shmring.AdminOptions{Dir: k.Dir} }

func (k *caller) expect(ok bool, format string, args ...any) {
	if !ok {
		k.r.wrong(format, args...)
	}
}

// do makes a call that has to come back within limit, more or less, and counts how it ended.
func (k *caller) do(name string, limit time.Duration, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	now := &inCall{name, time.Now(), limit}
	k.now.Store(now)
	err := f(ctx)
	k.now.Store(nil)
	late := time.Since(now.begin) - limit
	if err != nil {
		k.r.end(name, err)
	}
	k.r.mu.Lock()
	k.r.Calls++
	if late.Microseconds() > k.r.Late {
		k.r.Late, k.r.LateCall = late.Microseconds(), name
	}
	k.r.mu.Unlock()
	if late > lateness() {
		k.r.wrong("%s came back %v behind its deadline", name, late)
	}
	return err
}

// watch ends the process when a call does not come back at all.
func (r *report) watch() {
	for range time.Tick(100 * time.Millisecond) {
		r.mu.Lock()
		for k := range r.called {
			if now := k.now.Load(); now != nil && time.Since(now.begin) > now.limit+labs.Patience {
				_, _ = os.Stderr.WriteString(now.name + " does not return\n")
				_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
				os.Exit(4)
			}
		}
		r.mu.Unlock()
	}
}

// isLast tells whether an error is the end of a handle.
func isLast(err error) bool {
	last := []error{shmring.ErrCorrupt, shmring.ErrOrphaned, shmring.ErrRevoked, shmring.ErrClosed, shmring.ErrEnded}
	return slices.ContainsFunc(last, func(l error) bool { return errors.Is(err, l) })
}

// configurations uses rings in one way after the other.
func (r *report) configurations(a arguments, m mode) error {
	first := footprint{}
	for i := range a.Rounds {
		c := configured(a, m, i)
		if err := os.Setenv(shmring.EnvLocks, c.locks); err != nil {
			return err
		}
		for end, n := time.Now().Add(a.For), uint64(0); time.Now().Before(end) && !r.tooMuch(); n++ {
			l := &life{r: r, a: a, c: c, lost: make(chan struct{})}
			l.chance = rand.New(rand.NewPCG(a.Seed+uint64(i), n))
			l.live()
			r.Rounds++
		}
		r.Configured++
		now, leak := settled(first)
		if first == (footprint{}) {
			first = now
		} else if leak != "" {
			r.wrong("configuration %d (%v): %s", i, c, leak)
			break
		}
	}
	return nil
}

// life is that of one ring.
type life struct {
	r      *report
	a      arguments
	c      config
	chance *rand.Rand

	sealed    *shmring.Sealed
	file      *os.File
	producers []*shmring.Producer
	consumer  *shmring.Consumer
	over      atomic.Bool
	all       sync.WaitGroup
	once      sync.Once
	lost      chan struct{} // closed when a handle is of no use any more
}

// isLost notes that a handle is of no use any more, if the error says so.
func (l *life) isLost(err error) bool {
	if isLast(err) && errors.Is(err, shmring.ErrEnded) {
		return true // by its own doing
	}
	if isLast(err) {
		l.once.Do(func() { close(l.lost) })
		return true
	}
	return false
}

// openLimit is how long opening may take, removeLimit removing: whoever holds the attach lock may
// keep us waiting for as long.
const openLimit, removeLimit = 300 * time.Millisecond, 100 * time.Millisecond

func (l *life) live() {
	k := l.r.caller(l.a, l.chance.Uint64())
	defer k.done()
	l.open(k)
	if l.consumer != nil || len(l.producers) > 0 {
		l.use()
		select {
		case <-l.lost: // the others will be soon
			time.Sleep(time.Duration(l.chance.IntN(4)) * time.Millisecond)
		case <-time.After(time.Duration(1+l.chance.IntN(30)) * time.Millisecond):
		}
	}
	if l.chance.IntN(2) == 0 { // else they are closed in the middle of their calls
		l.over.Store(true)
		l.all.Wait()
	}
	l.close(k)
	l.over.Store(true)
	l.all.Wait()
	l.afterwards(k)
}

// open opens what it can.
func (l *life) open(k *caller) {
	o := l.c.options
	producer := func(ctx context.Context) (*shmring.Producer, error) { return shmring.OpenProducer(ctx, attacked, &o) }
	consumer := func(ctx context.Context) (*shmring.Consumer, error) {
		another := l.c.consumes(shmring.ModeOpenOrCreate)
		return shmring.OpenConsumer(ctx, attacked, &another)
	}
	if l.c.sealed {
		if k.do("NewSealed", openLimit, l.seal) != nil {
			return
		}
		producer = func(ctx context.Context) (*shmring.Producer, error) { return l.sealed.OpenProducer(ctx, &o) }
		consumer = func(ctx context.Context) (*shmring.Consumer, error) { return l.sealed.OpenConsumer(ctx, &o) }
	}
	n := 1
	if l.c.kind == shmring.KindMPSC {
		n = 2
	}
	for range n {
		_ = k.do("OpenProducer", openLimit, func(ctx context.Context) error {
			p, err := producer(ctx)
			if err == nil {
				l.producers = append(l.producers, p)
			}
			return err
		})
	}
	_ = k.do("OpenConsumer", openLimit, func(ctx context.Context) (err error) {
		l.consumer, err = consumer(ctx)
		return err
	})
}

// seal makes a ring without a name, and a link by which the attacker finds it.
func (l *life) seal(ctx context.Context) (err error) {
	if l.sealed, err = shmring.NewSealed(ctx, attacked, &l.c.options); err != nil {
		return err
	}
	if l.file, err = l.sealed.File(); err != nil {
		return err
	}
	link := l.a.Sealed + ".new"
	_ = os.Remove(link)
	self := filepath.Join("/proc", strconv.Itoa(os.Getpid()), "fd", strconv.Itoa(int(l.file.Fd())))
	return errors.Join(os.Symlink(self, link), os.Rename(link, l.a.Sealed))
}

// use makes calls on all handles, each by a goroutine of its own, and by the ring's name.
func (l *life) use() {
	start := func(f func(k *caller)) {
		k := l.r.caller(l.a, l.chance.Uint64())
		l.all.Go(func() {
			defer k.done()
			f(k)
		})
	}
	for _, p := range l.producers {
		start(func(k *caller) { loop(l, k, producerCalls, p) })
	}
	if l.consumer != nil && l.c.style == polled {
		start(l.poll)
	} else if l.consumer != nil {
		start(func(k *caller) { loop(l, k, consumerCalls, l.consumer) })
	}
	for range l.observers() {
		start(func(k *caller) {
			for !l.over.Load() {
				limit := time.Duration(1+k.chance.IntN(30)) * time.Millisecond
				_ = k.do("Observe", limit, func(ctx context.Context) error { return observe(ctx, k, l.c) })
			}
		})
	}
	if !l.c.sealed && l.chance.IntN(2) == 0 {
		start(func(k *caller) {
			for !l.over.Load() {
				admin := adminCalls[k.chance.IntN(len(adminCalls))]
				limit := time.Duration(1+k.chance.IntN(30)) * time.Millisecond
				_ = k.do(admin.name, limit, func(ctx context.Context) error { return admin.f(ctx, k, l.c) })
			}
		})
	}
}

// observers is how many there are, by the ring's name.
func (l *life) observers() int {
	switch {
	case l.c.sealed:
		return 0
	case l.c.kind == shmring.KindBroadcast:
		return 2
	}
	return l.chance.IntN(2)
}

// loop makes calls on a handle until it is of no use any more.
func loop[H any](l *life, k *caller, calls []call[H], h H) {
	for !l.over.Load() {
		c := choose(k.chance, calls, l.c)
		limit := time.Duration(1+k.chance.IntN(10)) * time.Millisecond
		err := k.do(c.name, limit, func(ctx context.Context) error { return c.f(ctx, k, h) })
		if l.isLost(err) {
			return
		}
		if errors.Is(err, shmring.ErrNoPeer) {
			time.Sleep(time.Millisecond) // nothing else would come of it
		}
	}
}

func (l *life) poll(k *caller) {
	p, err := shmring.NewPoller(nil)
	if err == nil {
		defer p.Close()
		err = p.Add(l.consumer)
	}
	for !l.over.Load() && err == nil {
		limit := time.Duration(1+k.chance.IntN(10)) * time.Millisecond
		if l.isLost(k.do("Wait", limit, func(ctx context.Context) error { return k.poll(ctx, p, l.consumer) })) {
			return
		}
	}
	if err != nil {
		l.r.wrong("Poller: %v", err)
	}
}

// close closes everything. That needs no patience.
func (l *life) close(k *caller) {
	stop := func(name string, f func() error) {
		begin := time.Now()
		_ = k.do(name, 0, func(context.Context) error { return f() })
		l.r.closed(time.Since(begin))
	}
	for _, p := range l.producers {
		stop("Close of a producer", p.Close)
	}
	if l.consumer != nil {
		stop("Close of a consumer", l.consumer.Close)
	}
	if l.sealed != nil {
		if l.file != nil {
			_ = l.file.Close()
		}
		stop("Close of a sealed ring", l.sealed.Close)
	}
}

// afterwards does what is done to a ring that nobody uses: a successor takes over, it is put in
// order, made anew, removed.
func (l *life) afterwards(k *caller) {
	if l.c.sealed {
		return
	}
	if l.chance.IntN(2) == 0 {
		for range l.chance.IntN(4) {
			admin := adminCalls[k.chance.IntN(len(adminCalls))]
			_ = k.do(admin.name, openLimit/10, func(ctx context.Context) error { return admin.f(ctx, k, l.c) })
		}
	}
	err := k.do(
		"Remove",
		removeLimit,
		func(ctx context.Context) error { return shmring.Remove(ctx, attacked, k.admin()) },
	)
	if errors.Is(err, shmring.ErrRefused) { // it is not ours to remove: whoever put it there may
		time.Sleep(time.Millisecond)
	}
}

func (r *report) closed(took time.Duration) {
	if us := took.Microseconds(); us > r.LongestClose {
		r.LongestClose, r.Longest = us, r.Rounds
	}
}

// settled waits until nothing of closed rings is mapped any more, and compares with what there was.
func settled(first footprint) (now footprint, leak string) {
	for end := time.Now().Add(labs.Patience); ; time.Sleep(5 * time.Millisecond) {
		runtime.GC() // the pages of a closed ring go with it
		now = footprintNow()
		if leak = now.grown(first); leak == "" || time.Now().After(end) {
			return now, leak
		}
	}
}
