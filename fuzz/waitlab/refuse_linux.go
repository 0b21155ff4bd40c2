package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
	"github.com/shmring/shmring/internal/seccomp"
	"github.com/shmring/shmring/layout"
)

func init() {
	roles["refused-ping"] = refused
	roles["refused-pong"] = refused
}

// refusals are what is refused at a time, see refusing; with a word more, "single", the
// process has one processor and would park.
var refusals = []string{
	"", "single",
	"waitv", "waitv single",
	"inotify", "inotify single",
	"waitv inotify",
	"sysv",
	"futex waitv", "futex waitv single",
	"futex waitv inotify single",
	"futex waitv sysv", "futex waitv sysv inotify single",
}

const (
	refusedCancels = 20
	// lateCancel is how long the last few of them wait, after which sleeps are several times
	// as long as naps.
	lateCancel = 250 * time.Millisecond
	// cancelSliced is how late a cancelled call may return where sleeps are naps.
	cancelSliced = futex.Slice + cancelLimit
)

// outcome is what became of one side on a system that refuses.
type outcome struct {
	Bell           layout.Doorbell // zero: none
	Err            string          // why the ring could not be opened
	Known          bool            // Err is ErrUnavailable or ErrUnsupported
	Reasons        []string
	Sleeps         uint64
	TimeoutWakeups uint64
	Cancels        []span
}

// refused installs the filter of a.Text before anything else, then plays ping-pong as a
// creator of one ring and a consumer of another, and is cancelled.
func refused(ctx context.Context, a args, lab *line) error {
	program, err := filter(a.Text, unix.Errno(a.Number))
	if err == nil {
		err = seccomp.Install(program)
	}
	if err != nil {
		return err
	}
	lab.watched()
	o := a.options()
	o.Doorbell = shmring.DoorbellAuto
	p, err := shmring.OpenProducer(ctx, a.Ring, o)
	if err != nil {
		known := errors.Is(err, doorbell.ErrUnavailable) || errors.Is(err, shmring.ErrUnsupported)
		lab.send("done", outcome{Err: err.Error(), Known: known})
		lab.recv()
		return nil
	}
	c, err := shmring.OpenConsumer(ctx, a.Back, o)
	if err != nil {
		return err
	}
	k := outcome{Bell: layout.Doorbell(p.Info().Doorbell)}
	buf := make([]byte, 64)
	for i := range a.Count {
		lab.step()
		if a.Role == "refused-ping" {
			err = p.Send(ctx, number(i))
		}
		n := 0
		if err == nil {
			n, err = c.Receive(ctx, buf)
		}
		if err == nil {
			err = due(buf[:n], i)
		}
		if err == nil && a.Role == "refused-pong" {
			err = p.Send(ctx, number(i))
		}
		if err != nil {
			return err
		}
	}
	if k.Cancels, err = cancelSome(ctx, c, lab); err != nil {
		return err
	}
	var s shmring.Stats = c.Stats()
	k.Sleeps, k.TimeoutWakeups, k.Reasons = s.Sleeps, s.TimeoutWakeups, append(p.Stats().Fallbacks, s.Fallbacks...)
	lab.send("done", k)
	lab.recv()
	return errors.Join(c.Close(), p.Close())
}

// cancelSome measures from a cancel to the return of a Receive that had nothing to
// receive.
func cancelSome(ctx context.Context, c *shmring.Consumer, lab *line) (all []span, err error) {
	for i := range refusedCancels {
		after := 3 * time.Millisecond
		if i >= refusedCancels-2 {
			after = lateCancel
		}
		lab.step()
		short, cancel := context.WithCancel(ctx)
		var ended machine.Moment
		done := make(chan struct{})
		time.AfterFunc(after, func() {
			ended = machine.Here()
			cancel()
			close(done)
		})
		_, err := c.Receive(short, nil)
		returned := machine.There()
		if !errors.Is(err, context.Canceled) {
			return nil, fmt.Errorf("cancelled: %v", err)
		}
		<-done
		all = append(all, span{ended, returned})
	}
	return all, nil
}

// expectation is what a system that refuses that should come to: the first bell that is
// built in and not refused. Zero: none.
func expectation(words string, have []way) layout.Doorbell {
	for _, w := range have {
		if w.parked || strings.Contains(words, w.name) {
			continue
		}
		return w.bell
	}
	return 0
}

func refuse(l *lab) {
	have := l.ways()
	for _, words := range refusals {
		for _, errno := range []unix.Errno{unix.ENOSYS, unix.EPERM} {
			if !l.refusal(strings.Fields(words), errno, have) {
				return
			}
			if words == "" || words == "single" {
				break
			}
		}
	}
}

func (l *lab) refusal(words []string, errno unix.Errno, have []way) bool {
	text, single := strings.Join(words, " "), len(words) > 0 && words[len(words)-1] == "single"
	text = strings.TrimSpace(strings.TrimSuffix(text, "single"))
	there, back := l.ring(), l.ring()
	a := args{Role: "refused-ping", Ring: there, Back: back, Kind: shmring.KindSPSC, Way: byFutex,
		Count: choose(l, 1000, 50), Number: int(errno), Text: text, Single: single}
	one, ok := l.spawn(a, nil)
	if !ok {
		return false
	}
	a.Role, a.Ring, a.Back = "refused-pong", back, there
	other, ok := l.spawn(a, nil)
	if !ok {
		return false
	}
	what := "nothing refused"
	if text != "" {
		what = fmt.Sprintf("%s refused with %s", strings.ReplaceAll(text, " ", ", "), unix.ErrnoName(errno))
	}
	if single {
		what += ", one processor"
	}
	want := expectation(text, have)
	var first, second outcome
	if !one.expect("done", 2*labs.Patience, &first) || !other.expect("done", 2*labs.Patience, &second) || !one.finish() ||
		!other.finish() {
		l.r.fault("that was with %s", what)
		return false
	}
	settle()
	l.r.add("systems", 1)
	if first.Bell == 0 {
		l.r.Note("%s: no ring: %s", what, first.Err)
	} else {
		l.r.Note("%s: %v; %d sleeps, cancelled within %v; %s", what, first.Bell, first.Sleeps+second.Sleeps, max(
			l.longest(first.Cancels), l.longest(second.Cancels)).Round(time.Microsecond),
			strings.Join(first.Reasons, "; "))
	}
	l.judgeRefusal(what, text, errno, want, first)
	l.judgeRefusal(what, text, errno, want, second)
	return true
}

func (l *lab) longest(all []span) (most time.Duration) {
	for _, s := range all {
		most = max(most, l.owned(s))
	}
	return most
}

func (l *lab) judgeRefusal(what, text string, errno unix.Errno, want layout.Doorbell, k outcome) {
	r := l.r
	limit := cancelLimit
	switch {
	case k.Bell == layout.Poll:
		limit = time.Second // it naps
	case strings.Contains(text, "waitv"):
		limit = cancelSliced
	}
	named := strings.Join(k.Reasons, "\n") + k.Err
	switch {
	case k.Bell != want:
		r.fault("%s: the doorbell is %v, want %v: %s", what, k.Bell, want, k.Err)
	case k.Bell == 0 && !k.Known:
		r.fault("%s: the error is none that a program could know: %s", what, k.Err)
	case k.TimeoutWakeups > 0:
		r.fault("%s: %d sleeps that nobody ended", what, k.TimeoutWakeups)
	case k.Bell != 0 && k.Sleeps == 0:
		r.fault("%s: nobody slept", what)
	case l.longest(k.Cancels) > limit:
		r.fault("%s: a cancelled call returned after %v, the limit is %v", what, l.longest(k.Cancels), limit)
	case strings.Contains(text, "futex") && !strings.Contains(named, errno.Error()):
		r.fault("%s: the reason is not told: %s", what, named)
	case strings.Contains(text, "waitv") && k.Bell == layout.Futex &&
		!strings.Contains(named, "futex_waitv: "+errno.Error()):
		r.fault("%s: the reason is not told: %s", what, named)
	case strings.Contains(text, "inotify") && !strings.Contains(named, "inotify"):
		r.fault("%s: the reason is not told: %s", what, named)
	}
}
