package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/fuzz/internal/labs"
	"github.com/shmring/shmring/shm"
)

// mode is one kind of attack: a blow that each ring gets once, or strikes, one after the other, at
// whatever ring is there.
type mode struct {
	name    string
	summary string
	full    int // how many rings, or configurations, if -n is not given
	short   int // and with -short
	once    blow
	strike  func(t *target)

	opens    bool // there is no attacker
	mapped   bool // it writes into the bytes of the ring
	copies   bool // rings stand under the name that were copied while they were used
	blind    bool // it needs no ring to be there
	loses    bool // it spoils what a ring's semaphores are found by, for those who would remove them with it
	stranger bool // it is done by another user, where we are root
	sealed   howOften
	mpsc     bool        // of interest for rings of many producers only
	sysv     bool        // or for those whose doorbells are semaphores
	locks    string      // or for those with locks of this kind
	perm     fs.FileMode // of the rings, or 0
}

// howOften sealed rings are what is attacked.
type howOften int

const (
	never howOften = iota
	sometimes
	always
)

// modes are what the attacker does.
var modes []mode

func init() {
	strikes := func(name, summary string, strike func(*target), more mode) mode {
		more.name, more.summary, more.strike = name, summary, strike
		more.full, more.short = 27, 12
		return more
	}
	words := mode{mapped: true, sealed: sometimes}
	header := mode{mapped: true, sealed: sometimes, loses: true}
	modes = []mode{
		{name: "opens", summary: "nobody lies: rings are opened, refused and closed in every way",
			full: 10000, short: 400, opens: true},
		{name: "truncate", summary: "the file is cut to a random length", full: 10000, short: 360, once: truncate},
		{
			name:    "hole",
			summary: "holes are punched, or the file is cut and grown again, which the kernel fills with zeros",
			full:    1000,
			short:   180,
			once:    punch,
		},
		strikes("words", "garbage in the header, and what was there", strikeWords, header),
		strikes("hot", "garbage in the words that move", strikeHot, words),
		strikes("members", "garbage in the entries of participants", strikeMembers, words),
		strikes("fates", "streams that end without end", strikeFates, words),
		strikes("replay", "words and records become what they were", strikeReplay, words),
		strikes("records", "garbage in descriptors and payload", strikeRecords, words),
		strikes("laps", "records of the lap before and of the next", strikeLaps, words),
		strikes("bounds", "lengths and owners around every limit", strikeBounds, words),
		strikes("swap", "the header of another geometry, and back", strikeSwap, header),
		strikes("bells", "endless wakes, and lies about who sleeps", strikeBells, words),
		strikes("turn", "claims of the dead and of nobody; turns that never end", strikeTurn,
			mode{mapped: true, sealed: sometimes, mpsc: true}),
		strikes("seals", "what seals forbid, and holes", strikeSeal, mode{sealed: always}),
		strikes("grow", "the file becomes longer, up to 4 TiB", strikeGrow, mode{}),
		strikes("rename", "the name goes, and comes back", strikeRename, mode{}),
		strikes("replace", "another file stands under the name", strikeReplace, mode{copies: true}),
		strikes("hoard", "the locks are taken, and kept for a while", strikeHoard, mode{}),
		strikes("squat", "names are made before others do: of rings, and of lock directories", strikeSquat,
			mode{blind: true, stranger: true}),
		strikes(
			"semaphores",
			"sets are removed, opened, replaced and forged",
			strikeSemaphores,
			mode{mapped: true, sysv: true},
		),
		strikes("readers", "who may only read opens, reads and locks without end", strikeRead,
			mode{blind: true, stranger: true, perm: 0o644}),
	}
}

func modeOf(name string) int {
	return slices.IndexFunc(modes, func(m mode) bool { return m.name == name })
}

// flags are those of this laboratory.
type flags struct {
	n    int
	each time.Duration
	ring string
}

func program() *labs.Program {
	var own flags
	p := &labs.Program{
		Name:  "evilpeer",
		Title: "Modes, and how many rings (truncate, hole) or configurations in full and with -short",
		Flags: func(f *flag.FlagSet) {
			f.IntVar(&own.n, "n", 0, "how many rings, or configurations (default: see the modes)")
			f.DurationVar(&own.each, "for", 0, "how long for each configuration (default: 2s; with -short 120ms)")
			f.StringVar(
				&own.ring,
				"ring",
				"",
				"attack this ring, a path, for as long as -for says, with nobody to judge what comes of it",
			)
		},
		Check: func() error {
			switch {
			case own.n < 0 || own.each < 0:
				return errors.New("-n and -for must not be negative")
			case own.ring != "" && !strings.HasSuffix(own.ring, shm.Suffix):
				return fmt.Errorf("-ring %q: want the path of a ring, which ends in %s", own.ring, shm.Suffix)
			}
			return nil
		},
		Experiment: func(ctx context.Context, mode int, o labs.Options) labs.Report { return experiment(ctx, mode, own, o) },
		Child:      child,
	}
	for _, m := range modes {
		p.Modes = append(
			p.Modes,
			labs.Mode{Name: m.name, Summary: fmt.Sprintf("%s (%d, %d)", m.summary, m.full, m.short)},
		)
	}
	return p
}

func main() { program().Main() }

// result is what one mode found: the object that -json prints.
type result struct {
	labs.Result
	Attacks int     `json:"attacks"`
	Assault assault `json:"assault"`
	report
}

// Print shows the result to people.
func (r *result) Print(w io.Writer) {
	verdict := "ok"
	if !r.OK {
		verdict = "FAILED"
	}
	fmt.Fprintf(w, "%-10s %s: ", r.Mode, verdict)
	if r.Configured > 0 {
		fmt.Fprintf(w, "%d configurations, ", r.Configured)
	}
	fmt.Fprintf(
		w,
		"%d rings, %d attacks, longest Close %d µs (ring %d); %.1f s\n",
		r.Rounds,
		r.Attacks,
		r.LongestClose,
		r.Longest,
		r.Seconds,
	)
	if r.Calls > 0 {
		r.Note(
			"%d calls, the latest %d µs behind its deadline (%s); %d messages of the healthy ring",
			r.Calls,
			r.Late,
			r.LateCall,
			r.Healthy,
		)
	}
	if r.Told > 0 {
		r.Note("of %d calls that began behind the attack and told of it, %d did within 10 ms: %s", r.Told, r.ToldSoon,
			r.ToldIn)
	}
	for _, name := range slices.Sorted(maps.Keys(r.ToldLate)) {
		r.Note("later: %d × %s", r.ToldLate[name], name)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Untold)) {
		r.Note("%d calls of %s that began behind it went on as before", r.Untold[name], name)
	}
	for i, f := range r.Footprint {
		r.Note("%s: %s", []string{"at first", "at the end"}[i], f)
	}
	if r.Assault.Refused > 0 {
		r.Note(
			"the kernel refused %d attacks of %d on the seals",
			r.Assault.Refused,
			r.Assault.Refused+r.Assault.Allowed,
		)
	}
	r.PrintRest(w, strings.Repeat(" ", 11), "not permitted here", func() {
		for _, what := range slices.Sorted(maps.Keys(r.Ends)) {
			fmt.Fprintf(w, "%11s%9d calls ended by: %s\n", "", r.Ends[what], what)
		}
	})
}

// experiment runs one mode: a victim, and an attacker in another process.
func experiment(ctx context.Context, mode int, own flags, o labs.Options) labs.Report {
	m := modes[mode]
	if own.ring != "" {
		return attackAlone(ctx, m, own, o)
	}
	n := o.Times(own.n, m.full, m.short)
	each := 2 * time.Second
	switch {
	case own.each > 0:
		each = own.each
	case o.Short || own.n > 0:
		each = 120 * time.Millisecond
	}
	r := &result{Result: labs.Result{Mode: m.name, Seed: o.Seed}}
	left, err := r.Run(ctx, "evilpeer", o, func(l *labs.Lab) {
		if err := r.run(l, m, n, each); err != nil {
			r.Problem("%v", err)
		}
	})
	if err != nil {
		r.Problem("%v", err)
	}
	for _, leak := range left {
		r.Problem("left behind: %s", leak)
	}
	for _, p := range r.Wrong {
		r.Problem("%s", p)
	}
	if used := r.Rounds; m.strike == nil && used != n {
		r.Problem("%d of %d rings were used", used, n)
	} else if m.strike != nil && r.Configured != n {
		r.Problem("%d of %d configurations were used", r.Configured, n)
	}
	if r.OK = len(r.Problems) == 0; !r.OK {
		r.Repeat = fmt.Sprintf("go run ./fuzz/evilpeer -mode %s -n %d -for %v -seed %d", m.name, n, each, o.Seed)
	}
	return r
}

func (r *result) run(l *labs.Lab, m mode, n int, each time.Duration) error {
	at := place{Dir: l.Rings, Sealed: filepath.Join(l.Files, "sealed")}
	a := arguments{
		Role:   "victim",
		Mode:   m.name,
		Files:  l.Files,
		place:  at,
		Seed:   l.Seed,
		Rounds: n,
		For:    each,
		Always: m.name == "truncate",
	}
	if m.stranger {
		if err := os.Chmod(l.Rings, 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	victim, err := l.Spawn("victim", a, nil)
	if err != nil {
		return err
	}
	var lost error
	switch {
	case m.opens:
	case m.once != nil:
		r.Attacks, lost = attackAll(l, victim, m.once)
	default:
		lost = r.assail(l, m, at, victim)
	}
	if err := victim.Wait(); err != nil {
		return fmt.Errorf("the victim: %w", errors.Join(err, lost))
	}
	if lost != nil {
		return fmt.Errorf("the attacker: %w", lost)
	}
	tidy(l, at)
	text, err := os.ReadFile(a.report())
	if err != nil {
		return err
	}
	if m.once != nil && r.Attacks < n*9/10 {
		r.Problem("%d attacks on %d rings", r.Attacks, n)
	}
	return json.Unmarshal(text, &r.report)
}

// tidy removes what the last ring and its attacker have left. What is there then is left behind.
func tidy(l *labs.Lab, at place) {
	at.clear()
	_ = shmring.Remove(l.Ctx, attacked, &shmring.AdminOptions{Dir: at.Dir})
}

// assail has the attacker strike until the victim has ended.
func (r *result) assail(l *labs.Lab, m mode, at place, victim *labs.Child) error {
	var said bytes.Buffer
	a := attackerArguments{Role: "attacker", Mode: m.name, place: at, Seed: l.Seed}
	attacker, err := l.Spawn("attacker", a, func(c *exec.Cmd) (func(), error) {
		c.Stdout = &said
		if m.stranger && os.Geteuid() == 0 {
			const nobody = 65534
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		return nil, nil
	})
	if err != nil {
		victim.Kill()
		return err
	}
	_ = victim.Wait()
	attacker.Signal(unix.SIGTERM)
	if err := attacker.Wait(); err != nil {
		return err
	}
	if err := json.Unmarshal(said.Bytes(), &r.Assault); err != nil {
		return err
	}
	r.Attacks = r.Assault.Strikes
	if r.Attacks == 0 {
		r.Problem("no attack at all")
	}
	if r.Assault.Second > 0 {
		r.Problem("%d rings had more than one set of semaphores", r.Assault.Second)
	}
	if r.Assault.Allowed > 0 {
		r.Problem("the kernel has allowed %d things that seals forbid", r.Assault.Allowed)
	}
	return nil
}

// attackAlone attacks somebody's ring, in this process.
func attackAlone(ctx context.Context, m mode, own flags, o labs.Options) labs.Report {
	r := &result{Result: labs.Result{Mode: m.name, Seed: o.Seed, OK: true}}
	if m.strike == nil {
		r.Problem("-ring is for modes that strike again and again")
		r.OK = false
		return r
	}
	limited, cancel := context.WithTimeout(ctx, max(own.each, time.Second))
	defer cancel()
	begin := time.Now()
	r.Assault = assail(
		limited,
		m,
		place{Dir: filepath.Dir(own.ring), Name: filepath.Base(own.ring)},
		rand.New(rand.NewPCG(o.Seed, 1)),
	)
	r.Attacks, r.Seconds = r.Assault.Strikes, time.Since(begin).Seconds()
	return r
}
