package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/fuzz/internal/machine"
	"github.com/shmring/shmring/internal/pin"
)

func init() {
	roles["asker"] = asker
	roles["answerer"] = answerer
	roles["hog"] = hog
}

// aPlacement is where the two sides of a request and its response run.
type aPlacement struct {
	name string
	// born is where the two start, and moved where all their threads go later: indices of the
	// processors that this process has.
	born, moved [2]int
	way         way
	hog, quota  bool // beside a process that never sleeps; in a control group that pays for one processor
	// likeSleep: it need not be better than WaitSleep. Spinning has the better median there, and
	// now and then stands still for as long as others want the processor, or for the rest of a
	// period.
	likeSleep bool
}

const anywhere = -1

var (
	free   = [2]int{anywhere, anywhere}
	placed = []aPlacement{
		{name: "same processor", born: free, moved: [2]int{0, 0}},
		{name: "same from birth", born: [2]int{0, 0}, moved: [2]int{0, 0}},
		{name: "one each", born: [2]int{0, 1}, moved: [2]int{0, 1}},
		{name: "moved apart", born: [2]int{0, 0}, moved: [2]int{0, 1}},
		{name: "set free", born: [2]int{0, 0}, moved: free},
		{name: "free", born: free, moved: free},
		{name: "free, naps", born: free, moved: free, way: byPoll},
		{name: "beside a hog", born: free, moved: free, hog: true, likeSleep: true},
		{name: "hog, set free", born: [2]int{0, 0}, moved: free, hog: true, likeSleep: true},
		{name: "quota of one", born: free, moved: free, quota: true, likeSleep: true},
	}
)

const (
	settled      = 50 * time.Millisecond  // how soon a placement has to be known
	napping      = 100 * time.Millisecond // for those who sleep a millisecond at a time
	placedTries  = 3
	placedLimit  = 2    // times what the better policy takes: what a busy machine passes, and what fails did not
	placedWanted = 1.3  // which is counted
	placedTrips  = 1500 // that are measured
	placedOthers = 0.15 // of a processor: from that much on others are a hog where the system chooses
)

// policies are what is compared. The first is judged.
var policies = []string{"balanced", "sleep", "spin", "park", "socket"}

// policy opens both directions of a pair.
func (a args) policy() *shmring.Options {
	o := a.options()
	o.Mode, o.Slots = shmring.ModeOpenOrCreate, 64
	o.WaitPolicy = map[string]shmring.WaitPolicy{
		"sleep": shmring.WaitSleep, "spin": shmring.WaitSpin, "park": shmring.WaitPark,
	}[a.Text]
	return o
}

// trip is a request and its response, from either side.
type trip struct {
	ask, answer func() error
	close       func() error
}

// trips opens a side of the pair.
func (a args) trips(ctx context.Context, asks bool) (t trip, err error) {
	buf := make([]byte, 32)
	if a.Text == "socket" {
		conn, err := a.socket(ctx, asks)
		if err != nil {
			return t, err
		}
		send := func() error { _, err := conn.Write(buf); return err }
		receive := func() error { _, err := conn.Read(buf); return err }
		return twoWays(send, receive, conn.Close), nil
	}
	out, in := a.Ring, a.Back
	if !asks {
		out, in = in, out
	}
	p, err := shmring.OpenProducer(ctx, out, a.policy())
	if err != nil {
		return t, err
	}
	c, err := shmring.OpenConsumer(ctx, in, a.policy())
	if err != nil {
		return t, errors.Join(err, p.Close())
	}
	send := func() error { return p.Send(ctx, buf) }
	receive := func() error { _, err := c.Receive(ctx, buf); return err }
	return twoWays(send, receive, func() error { return errors.Join(p.Close(), c.Close()) }), nil
}

func twoWays(send, receive, closing func() error) trip {
	return trip{
		func() error { return errors.Join(send(), receive()) },
		func() error { return errors.Join(receive(), send()) },
		closing,
	}
}

// socket is what pairs of another kind have. The answerer is there first.
func (a args) socket(ctx context.Context, asks bool) (net.Conn, error) {
	path := filepath.Join(a.Dir, a.Ring+".sock")
	if asks {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	fmt.Println("listens {}")
	conn, err := l.Accept()
	return conn, errors.Join(err, l.Close())
}

// answerer answers until its lab is gone, or says that it is enough.
func answerer(ctx context.Context, a args, lab *line) error {
	t, err := a.trips(ctx, false)
	if err != nil {
		return err
	}
	lab.send("ready", nil)
	go func() {
		for t.answer() == nil {
		}
	}()
	lab.recv()
	return t.close()
}

// trips that were measured.
type tripTimes struct {
	P50, P99, Mean time.Duration
	Trips          int
}

// asker makes trips for as long as it takes to learn where the other is, and measures some then.
func asker(ctx context.Context, a args, lab *line) error {
	t, err := a.trips(ctx, true)
	if err != nil {
		return err
	}
	lab.send("ready", nil)
	for lab.recv() == "go" {
		lead := settled
		if a.Way == byPoll {
			lead = napping
		}
		for begin := time.Now(); time.Since(begin) < lead; {
			if err := t.ask(); err != nil {
				return err
			}
		}
		var took []time.Duration
		begin := time.Now()
		last := begin
		// Who takes turns with a spinner on one processor takes 2 ms for each.
		for len(took) < a.Count && (len(took) < 20 || last.Sub(begin) < 4*settled) {
			if err := t.ask(); err != nil {
				return err
			}
			now := time.Now()
			took = append(took, now.Sub(last))
			last = now
		}
		slices.Sort(took)
		n := len(took)
		lab.send("done", tripTimes{took[n/2], took[n*99/100], last.Sub(begin) / time.Duration(n), n})
	}
	return t.close()
}

// hog never sleeps, for as long as its lab lives.
func hog(_ context.Context, _ args, lab *line) error {
	lab.send("ready", nil)
	done := make(chan string, 1)
	go func() { done <- lab.recv() }()
	for i := 0; ; i++ {
		if i%(1<<20) == 0 {
			select {
			case <-done:
				return nil
			default:
			}
		}
	}
}

// placements compares the policies in each placement, pair for pair.
func placements(l *lab) {
	cpus := pin.CPUs()
	if len(cpus) < 2 {
		l.r.Skip("this process may run on %v", cpus)
		return
	}
	cpus = cpus[:2]
	for _, w := range placed {
		pairs, over := choose(l, 20, 3), ""
		for try := range placedTries {
			var ok bool
			if over, ok = l.placement(w, cpus, pairs); !ok {
				return
			}
			if over == "" {
				break
			}
			l.r.Note("%s: try %d of %d: %s", w.name, try+1, placedTries, over)
		}
		if over != "" {
			l.r.fault("%s, %d times running: %s", w.name, placedTries, over)
		}
	}
}

// placement measures once, and tells what is over the limit. The policies take turns.
func (l *lab) placement(w aPlacement, cpus []int, pairs int) (over string, ok bool) {
	if w.hog {
		h, ok := l.spawn(args{Role: "hog", Way: byFutex}, nil)
		if !ok || !h.expect("ready", labs.Patience, nil) {
			return "", false
		}
		defer h.finish()
	}
	group := ""
	if w.quota {
		var err error
		if group, err = newQuota(); err != nil {
			l.r.Skip("%s: %v", w.name, err)
			return "", true
		}
		defer os.Remove(group)
	}
	began := busyNow()
	compared := choose(l, policies, policies[:3])
	var p50, mean [5][]time.Duration
	for range pairs {
		for i, policy := range compared {
			got, ok := l.pair(w, cpus, policy, group)
			if !ok {
				return "", false
			}
			p50[i], mean[i] = append(p50[i], got.P50), append(mean[i], got.Mean)
		}
	}
	l.r.add("pairs", uint64(pairs))
	middle := func(of []time.Duration) time.Duration {
		of = slices.Sorted(slices.Values(of))
		return of[len(of)/2]
	}
	better, note := min(middle(p50[1]), middle(p50[2])), ""
	if busy := busyOthers(began); w.likeSleep || w.moved == free && busy > placedOthers {
		better = slices.Max(p50[1]) // whose pairs differ by tens
		if !w.likeSleep {
			note = fmt.Sprintf("; others took %.0f %% of a processor: compared with sleep", 100*busy)
		}
	}
	within := 0
	for _, p := range p50[0] {
		if float64(p) <= placedWanted*float64(better) {
			within++
		}
	}
	text := ""
	for i, policy := range compared {
		text += fmt.Sprintf("  %s %v (%v to %v; mean %v)", policy, middle(p50[i]), slices.Min(p50[i]), slices.Max(p50[i]),
			middle(mean[i]))
	}
	l.r.Note("%-16s%s; %d of %d within %.1f of the better%s", w.name, text, within, pairs, placedWanted, note)
	if got := middle(p50[0]); got > placedLimit*better {
		over = fmt.Sprintf("balanced takes %v, the better of the others %v", got, better)
	}
	return over, true
}

// busy is what processors have done: for all, and for this process and its children.
type busy struct {
	at        time.Time
	all, ours time.Duration
}

func busyNow() busy {
	b := busy{at: time.Now()}
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			b.ours += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	busy, stolen := machine.Busy()
	b.all = busy + stolen
	return b
}

// busyOthers is how many processors others have kept busy since then. A hog's time counts as
// theirs until it is waited for.
func busyOthers(since busy) float64 {
	now := busyNow()
	return float64(now.all-since.all-(now.ours-since.ours)) / float64(now.at.Sub(since.at))
}

// pair is one fresh pair.
func (l *lab) pair(w aPlacement, cpus []int, policy, group string) (got tripTimes, ok bool) {
	if w.way == (way{}) {
		w.way = byFutex
	}
	a := args{Ring: l.ring(), Back: l.ring(), Way: w.way, Kind: shmring.KindSPSC, Text: policy, Count: placedTrips}
	var sides [2]*child
	for i, role := range []string{"answerer", "asker"} {
		a.Role = role
		at := []int{}
		if w.born[i] != anywhere {
			at = []int{cpus[w.born[i]]}
		}
		if sides[i], ok = l.spawnAt(a, at, group); !ok {
			return got, false
		}
		if policy == "socket" && i == 0 && !sides[0].expect("listens", labs.Patience, nil) {
			return got, false
		}
	}
	for _, c := range sides {
		if !c.expect("ready", labs.Patience, nil) {
			return got, false
		}
	}
	trips := func() bool {
		sides[1].send("go")
		return sides[1].expect("done", labs.Patience, &got)
	}
	if w.born[0] != anywhere && w.moved != w.born && !trips() { // they have to know better first
		return got, false
	}
	for i, c := range sides {
		if w.moved[i] != w.born[i] {
			to := setOf(cpus...)
			if w.moved[i] != anywhere {
				to = setOf(cpus[w.moved[i]])
			}
			if err := movePID(c.PID(), to); err != nil {
				return got, c.fault("%v", err)
			}
		}
	}
	if !trips() {
		return got, false
	}
	return got, sides[1].finish() && sides[0].finish()
}

// spawnAt is spawn on some processors, as taskset does it: they are inherited.
func (l *lab) spawnAt(a args, cpus []int, group string) (*child, bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if len(cpus) > 0 {
		defer func(before *unix.CPUSet) { _ = unix.SchedSetaffinity(0, before) }(setOf(pin.CPUs()...))
		if err := unix.SchedSetaffinity(0, setOf(cpus...)); err != nil {
			l.r.fault("%v", err)
			return nil, false
		}
	}
	if group == "" {
		return l.spawn(a, nil)
	}
	exe, err := os.Executable()
	if err != nil {
		l.r.fault("%v", err)
		return nil, false
	}
	return l.spawn(a, func(c *exec.Cmd) { // the shell moves itself there, and becomes the child
		c.Path, c.Args = "/bin/sh", []string{"sh", "-c", `echo $$ > "$0/cgroup.procs" && exec "$1"`, group, exe}
	})
}

func setOf(cpus ...int) *unix.CPUSet {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	return &set
}

// movePID moves all threads of a process, also those that come into being meanwhile.
func movePID(pid int, to *unix.CPUSet) error {
	for moved := map[string]bool{}; ; {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		fresh := false
		for _, t := range tasks {
			if moved[t.Name()] {
				continue
			}
			fresh, moved[t.Name()] = true, true
			tid, err := strconv.Atoi(t.Name())
			if err == nil {
				err = unix.SchedSetaffinity(tid, to)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		if !fresh {
			return nil
		}
	}
}

// newQuota makes a control group that pays for one processor.
func newQuota() (dir string, err error) {
	name := fmt.Sprintf("shmring-waitlab-%d", os.Getpid())
	for _, v := range []struct {
		root  string
		files map[string]string
	}{
		{"/sys/fs/cgroup/cpu", map[string]string{"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"}},
		{"/sys/fs/cgroup", map[string]string{"cpu.max": "100000 100000"}},
	} {
		dir = filepath.Join(v.root, name)
		if err = os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			continue
		}
		for file, text := range v.files {
			if err = os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
				break
			}
		}
		if err == nil {
			return dir, nil
		}
		_ = os.Remove(dir)
	}
	return "", fmt.Errorf("no control group to be had: %w", err)
}
