package models

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shmring/shmring/layout"
)

const (
	holds  = false
	broken = true
)

// variants is every run of the verifier. what says what the run shows.
var variants = []struct {
	model string
	flags string
	want  bool
	what  string
}{
	{"bell", "", holds, "2 producers, 1 consumer that sleeps or parks; no cap"},
	{"bell", "CAP", holds, "a cap finds nothing that a notification would not have told"},
	{"bell", "KILL", broken, "a waker killed between the CAS and the wake; no cap"},
	{"bell", "KILL CAP", holds, "that is what the cap is for"},
	{"bell", "CAP PLAIN_PUBLISH", broken, "a publish in the store buffer when the bell is looked at"},
	{"bell", "PLAIN_PUBLISH", broken, ""},
	{"bell", "PLAIN_PUBLISH FENCE", holds, "the sleeper fences for the wakers, by membarrier, before its second look"},
	{"bell", "CAP KILL PLAIN_PUBLISH FENCE", holds, ""},
	{"bell", "PLAIN_PUBLISH FENCE FENCE_LATE", broken, "fenced behind the second look"},
	{"bell", "PLAIN_PUBLISH FENCE FENCE_FIRST", broken, "fenced before the announcement"},
	{"bell", "PLAIN_PUBLISH FENCE UNREGISTERED", broken, "a waker whose process has not registered publishes plainly"},
	{"bell", "NO_RECHECK", broken, "asleep without a second look (B2)"},
	{"bell", "KEY_AFTER_RECHECK", broken, "sleeps on a word whose bits a waker has cleared"},
	{"bell", "KEY_AFTER_RECHECK REFUSE_CLEAR", holds, "harmless to one sleeper that refuses such a word"},
	{"bell", "WAKE_BEFORE_CLEAR", broken, "between the wake and the CAS the sleeper goes to sleep again"},
	{"bell", "PARK_NOT_COMPARED", broken, "the listener had the event before there was a name to pass it to"},
	{"bell", "NO_COUNT", holds, "one sleeper needs no count: nobody else sets its bit again"},
	{"bell", "CAS_ONCE", holds, "nobody but wakers and the one sleeper changes the word"},
	{"bell", "NO_TAKE_BACK", holds, "taking the bit back only saves a wake"},

	{"bell", "SPACE", holds, "3 producers, one of them parked, one of them quits; no cap"},
	{"bell", "SPACE CAP", holds, ""},
	{"bell", "SPACE KILL", broken, "a consumer killed between the CAS and the wake; no cap"},
	{"bell", "SPACE KILL CAP", holds, ""},
	{"bell", "SPACE CAS_ONCE", broken, "the CAS was lost to a sleeper that came in the other way and then quit"},
	{"bell", "SPACE CAS_ONCE ONE_KIND", holds, "with one kind of sleepers the word changes only by a notification"},
	{"bell", "SPACE PLAIN_PUBLISH", broken, ""},
	{"bell", "SPACE NO_RECHECK", broken, ""},
	{"bell", "SPACE KEY_AFTER_RECHECK", broken, ""},
	{"bell", "SPACE KEY_AFTER_RECHECK REFUSE_CLEAR", broken, "another sleeper has set the bit again"},
	{"bell", "SPACE NO_COUNT", broken, "another sleeper has set the bit again: the word is the same"},
	{"bell", "SPACE WAKE_ONE", broken, "the one that was woken had quit"},
	{"bell", "SPACE CLEAR_ONE_BIT", broken, "the bit of one that had quit hides the other kind"},
	{"bell", "SPACE NOTIFY_ONE_KIND", broken, "both bits cleared, one kind woken"},
	{"bell", "SPACE TAKE_BACK_SHARED", broken, "the bit was another one's too"},
	{"bell", "SPACE PARK_NOT_COMPARED", broken, ""},

	{"cancel", "", holds, "a context and a Close against 2 messages"},
	{"cancel", "NO_CLOSE", holds, ""},
	{"cancel", "NO_CANCEL", holds, ""},
	{"cancel", "NO_CLOSE STOP_NOT_COMPARED", broken, "stopped between the look and the sleep"},
	{"cancel", "STOP_WITHOUT_WAKE", broken, ""},
	{"cancel", "ERROR_BEFORE_DATA", broken, "what ended the sleep is in the ring, and the error is returned"},
	{"cancel", "CLOSE_DOES_NOT_WAIT", broken, "a sleeper touches memory that is not mapped any more"},
	{"cancel", "LOOK_THEN_STOP", broken, "published, then cancelled, both after the look"},
	{"cancel", "SLICED", holds, "without futex_waitv"},
	{"cancel", "SLICED NO_CANCEL", holds, ""},
	{"cancel", "SLICED STOP_WITHOUT_WAKE", holds, "slices need no wake"},
	{"cancel", "SLICED NO_SLICE", broken, "one long sleep"},
	{"cancel", "SLICED STOP_NOT_COMPARED", broken, "slices without a look at the stop words"},
	{"cancel", "SLICED ERROR_BEFORE_DATA", broken, ""},

	{"door", "SLEEPERS=1 DOORS=1 STOP", holds, "one sleeper needs one door"},
	{"door", "DOORS=1", broken, "after one notification another sleeper shuts the same door"},
	{"door", "DOORS=1 NOTIFIES=1", broken, "one notification is enough for that"},
	{"door", "DOORS=2 NOTIFIES=1", holds, ""},
	{"door", "DOORS=2", broken, "after two"},
	{"door", "DOORS=3 NOTIFIES=2", holds, ""},
	{"door", "DOORS=3", broken, "after three"},
	{"door", "DOORS=2 CAP TIMEOUT_WAKEUPS NOTIFIES=2", holds, "the cap covers it"},
	{"door", "DOORS=2 BOUND", holds, "K doors are safe: fewer than K notifications fall between two steps of a sleeper"},
	{"door", "DOORS=3 BOUND NOTIFIES=4 ROUNDS=4", holds, ""},
	{"door", "BOUND STOP", broken, "after Stop has opened the doors another sleeper, rightly, shuts one"},
	{"door", "BOUND STOP STOP_UNTIL_LEFT ROUNDS=2", holds, "Stop opens them until its sleeper has left"},
	{"door", "BOUND KILL", broken, ""},
	{"door", "BOUND KILL CAP ROUNDS=2 NOTIFIES=2", holds, ""},
	{"door", "BOUND DOOR_NOT_REOPENED", broken, "shut after the notification by one that then does not sleep"},
	{"door", "BOUND DOOR_CLOSED_LATE", broken, "the notification came between the check and the shutting"},
	{"door", "BOUND NO_FIRST_CHECK", holds, "step 1 only saves system calls"},
	{"door", "OWN_DOOR", holds, "a door for each sleeper: no bound"},
	{"door", "OWN_DOOR STOP ROUNDS=2", holds, "and no Stop is lost"},
	{"door", "OWN_DOOR KILL CAP ROUNDS=2 NOTIFIES=2", holds, ""},

	{"poll", "", holds, "1 poller, 2 rings; no cap"},
	{"poll", "CAP", holds, ""},
	{"poll", "KILL", broken, ""},
	{"poll", "KILL CAP", holds, ""},
	{"poll", "KILL CAP CAP_LOOKS_AT_CHANGED", broken, "killed before it notified: the word has not changed"},
	{"poll", "BY_EVENT", holds, "events say where to look, if they are kept until one has looked"},
	{"poll", "BY_EVENT POLL_FORGETS_EDGE", broken, "events thrown away while another ring was handed out"},
	{"poll", "POLL_FORGETS_EDGE", holds, "the words remember"},
	{"poll", "POLL_DRAINS_LATE", broken, "events read between the look and the sleep"},
	{"poll", "POLL_LOOKS_FIRST", broken, "looks, then announces"},
	{"poll", "POLL_TRUSTS_BIT", broken, "a ring that was handed out may have more, whatever its bit says"},

	{"dense", "", holds, "records in line: 5 messages through 4 cells, 2 kills of producers and consumers"},
	{"dense", "KNOWN_CLEAN", holds, "what is free is cleared ahead"},
	{"dense", "OBSERVER KILLS=1", holds, "an observer copies a record and asks whether that was whole"},
	{"dense", "CELLS=6 MESSAGES=4", holds, ""},
	{"dense", "NO_CLEAR", broken, "what an older lap left behind the newest record"},
	{"dense", "CLEARED_LATE", broken, "the consumer was quicker, or the producer is dead"},
	{"dense", "KNOWN_CLEAN FORGETS_TO_SCRUB", broken, "a claim that was given up has written where all was clean"},
	{"dense", "PUBLISHED_FIRST", broken, "payload behind its word"},
	{"dense", "BATCH_FORWARD", broken, "the first word of a batch before the words behind it"},
	{"dense", "STARTS_AT_READ", broken, "a successor that does not walk"},
	{"dense", "NO_ROOM_BEHIND", broken, "the word behind the newest record is that of the oldest"},
	{"dense", "MARKED_LATE", broken, "killed before it said that the user may have seen it"},
	{"dense", "RELEASED_EARLY", broken, "overwritten in the user's hands"},
	{"dense", "OBSERVER WRITTEN_LATE KILLS=0", broken, "overwritten before that was said"},
	{"dense", "OBSERVER WRITTEN_BACK KILLS=1", broken, "what a dead producer has overwritten is forgotten"},

	{"broadcast", "", holds, "waypoints: 5 messages through 8 cells, 1 kill of the producer"},
	{"broadcast", "KILLS=2 MESSAGES=4", holds, ""},
	{"broadcast", "KILLS=0 MESSAGES=7", holds, "and no kill"},
	{"broadcast", "WRITTEN_LATE KILLS=0", broken, "overwritten before that was said"},
	{"broadcast", "UNASKED KILLS=0", broken, "nobody asks whether what was copied was whole"},
	{"broadcast", "TURN_FIRST", broken, "a waypoint that is half another, or whose producer was killed"},
	{"broadcast", "NO_SECOND_LOOK", broken, "the waypoint was written anew while it was looked at"},
	{"broadcast", "KEPT_WHILE_WRITTEN KILLS=0 MESSAGES=7", broken, "the words of a kept one belong to two"},
	{"broadcast", "COUNTS_PADDING KILLS=0", broken, ""},
	{"broadcast", "NO_WAYPOINT", broken, "the one that there is was overwritten"},
	{"broadcast", "NO_CLEAR KILLS=0", broken, "what an older lap left behind the newest record"},

	{"fates", "KILLS=1", holds, "3 streams, 2 consumers, places for 2 fates"},
	{"fates", "FATES=1 STREAMS=2", holds, "one place: more are told together"},
	{"fates", "STREAMS=2", holds, "two kills"},
	{"fates", "RECEIVERS=3 STREAMS=2", holds, ""},
	{"fates", "FATE_TWICE KILLS=1", broken, "a successor says of one that had ended that it died"},
	{"fates", "WORD_BEFORE_POSITION", broken, "told at the position of an older fate"},
	{"fates", "OVERWRITES_OLDEST KILLS=1", broken, "the oldest fate goes, and nobody was told of it"},
	{"fates", "MERGE_FORGETS FATES=1", broken, ""},
	{"fates", "MERGE_KEEPS_WORST FATES=1", broken, "one that was told already makes a death of the next"},
	{"fates", "EPOCH_BEFORE_FATE STREAMS=2", broken, "killed in between: nobody knows how the stream before ended"},
	{"fates", "EPOCH_BEFORE_STATE KILLS=1", broken, "a stream of which nobody sees that its producer is gone"},
	{"fates", "STATE_BEFORE_FATE KILLS=1", broken, "gone in good order, and no fate"},
	{"fates", "DRAINING_BEFORE_FATE STREAMS=2", broken, "the same by whoever found it dead"},
	{"fates", "NEWS_BEFORE_FATE", broken, "looked at in between: asleep for ever"},
	{"fates", "NO_POSITION", broken, "published and ended behind the look at the ring"},
	{"fates", "NO_FIRST", broken, "behind the next stream's first message"},
	{"fates", "TOLD_AT_ONCE", broken, "killed before the user has heard"},
	{"fates", "TOLD_BEFORE_COUNTED STREAMS=2", broken, "killed in between: counted twice, or never"},
	{"fates", "NO_REDO STREAMS=2", broken, ""},
	{"fates", "NO_REAP KILLS=1", broken, "without a successor nobody is told"},
	{"fates", "REAPS_BY_ASKING KILLS=1", broken, "asked while a newcomer takes the place"},
	{"fates", "LOOKS_AT_NEWS_ONLY KILLS=1", broken, "a consumer that comes later"},

	{"fence", "", holds, "2 producers, 1 consumer that promises to fence and takes that back"},
	{"fence", "SHARED", holds, "two goroutines of one handle"},
	{"fence", "PROMISE_NOT_KEPT", broken, ""},
	{"fence", "WITHDRAWN_QUIETLY", broken, "stored before, and still on its way"},
	{"fence", "FENCED_BEFORE", broken, "stored between the barrier and the withdrawal"},
	{"fence", "STORED_QUIETLY", broken, "who sees that it is over has stored, and looks at the bell no more"},

	{"skip", "", holds, "a claim that is given up while its owner commits it by a plain store"},
	{"skip", "ADMINS=3", holds, ""},
	{"skip", "KILL", holds, "who gives up is killed; the next one takes its mark over"},
	{"skip", "NO_FENCE", broken, "the owner's mark is in its store buffer, and it has looked before"},
	{"skip", "FENCE_FIRST", broken, "the owner looks between the fence and the state"},
	{"skip", "UNMARKED", broken, "the owner has looked, and has not stored yet"},
	{"skip", "IGNORES_MARK", broken, "the same, and it could be seen"},
	{"skip", "LOOKS_FIRST", broken, "looks at its state, then says that it is about to commit"},
	{"skip", "NEVER_LOOKS", broken, "commits what was given up long ago"},
}

// TestModels runs the verifier on every variant.
func TestModels(t *testing.T) {
	required := os.Getenv("SHMRING_MODELS") == "require"
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err != nil {
			if required {
				t.Fatalf("SHMRING_MODELS=require, and %v", err)
			}
			t.Skipf("%v: on Debian, apt-get install spin gcc", err)
		}
	}
	if testing.Short() && !required {
		t.Skip("takes half a minute")
	}
	for _, v := range variants {
		t.Run(strings.ReplaceAll(v.model+" "+v.flags, " ", "_"), func(t *testing.T) {
			t.Parallel()
			optimize := "-O1"
			if v.want == broken {
				optimize = "-O0" // found before an optimizer would be done
			}
			p := compile(t, v.model, flags(v.flags), optimize)
			got := p.search(t)
			t.Logf("%9d states  %6.2f s  %s  %s", got.states, got.took.Seconds(), result(v.want), v.what)
			if v.want != (got.errors > 0) {
				t.Errorf("%s\n%s", got.output, p.counterexample())
			}
		})
	}
}

func result(isBroken bool) string {
	if isBroken {
		return "broken"
	}
	return "holds"
}

func flags(s string) []string {
	var all []string
	for _, f := range strings.Fields(s) {
		all = append(all, "-D"+f)
	}
	return all
}

// program is a verifier, made of a model and its switches.
type program struct {
	dir, model string
	flags      []string
}

func compile(t *testing.T, model string, flags []string, optimize string) program {
	t.Helper()
	p := program{t.TempDir(), model + ".pml", flags}
	text, err := os.ReadFile(p.model)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, p.model), text, 0o600); err != nil {
		t.Fatal(err)
	}
	out := p.run(t, "spin", append([]string{"-a"}, append(flags, p.model)...)...)
	if strings.Contains(out, "rror") {
		t.Fatal(out)
	}
	p.run(t, "gcc", optimize, "-w", "-DSAFETY", "-DVECTORSZ=1024", "-DMEMLIM=2048", "-o", "pan", "pan.c")
	return p
}

func (p program) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

type outcome struct {
	errors, states int
	took           time.Duration
	output         string
}

var (
	errorCount = regexp.MustCompile(`errors: (\d+)`)
	stateCount = regexp.MustCompile(`(?m)^\s*(\d+) states, stored`)
	failure    = regexp.MustCompile(`pan:\d+: (invalid end state|assertion violated)`)
	incomplete = regexp.MustCompile(`max search depth too small|out of memory|reached -DMEMLIM|` +
		`hash factor: [0-9.]+e-|Search not completed`)
)

// search walks through all states, or until something is wrong. It fails the test
// where the search itself went wrong: a variant must hold in all states, and break by
// what the models check and by nothing else.
func (p program) search(t *testing.T) outcome {
	t.Helper()
	begin := time.Now()
	out := p.run(t, "./pan", "-m20000", "-w23")
	got := outcome{took: time.Since(begin), output: out}
	got.errors = number(t, errorCount, out)
	got.states = number(t, stateCount, out)
	if got.errors > 0 && !failure.MatchString(out) {
		t.Fatalf("an error that is not one of the model:\n%s", out)
	}
	if why := incomplete.FindString(out); why != "" && (got.errors == 0 || why != "Search not completed") {
		t.Fatalf("the search is not complete: %s\n%s", why, out)
	}
	return got
}

func number(t *testing.T, re *regexp.Regexp, out string) int {
	t.Helper()
	m := re.FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no %q in\n%s", re, out)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// counterexample is the end of the run that went wrong, if there is one.
func (p program) counterexample() string {
	cmd := exec.Command("spin", append([]string{"-t", "-p", "-g"}, append(p.flags, p.model)...)...)
	cmd.Dir = p.dir
	out, _ := cmd.CombinedOutput() // is only shown
	lines := bytes.Split(out, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-150):], []byte("\n")))
}

// sources returns the models by name.
func sources(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.pml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no models: %v", err)
	}
	all := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(f, ".pml")] = string(text)
	}
	return all
}

// TestSwitches: every switch of the table is in its model, so that a misspelt mistake
// is not one that holds, and every switch of a model is in the table.
func TestSwitches(t *testing.T) {
	used := map[string]bool{}
	models := sources(t)
	for _, v := range variants {
		for _, f := range strings.Fields(v.flags) {
			name, _, _ := strings.Cut(f, "=")
			used[v.model+" "+name] = true
			if !regexp.MustCompile(`(?m)^#.*\b` + name + `\b`).MatchString(models[v.model]) {
				t.Errorf("%s.pml has no switch %s", v.model, name)
			}
		}
	}
	tested := regexp.MustCompile(`(?m)^#(?:ifdef|ifndef) (\w+)$|defined\((\w+)\)`)
	for model, text := range models {
		for _, m := range tested.FindAllStringSubmatch(text, -1) {
			if name := m[1] + m[2]; !used[model+" "+name] {
				t.Errorf("%s.pml has a switch %s that no variant uses", model, name)
			}
		}
	}
}

// TestBits: the bits of the bell word are those of the layout.
func TestBits(t *testing.T) {
	bits := map[string]uint32{
		"BELL_SLEEPER":  layout.BellSleeper,
		"BELL_PARKED":   layout.BellParked,
		"BELL_COUNT":    layout.BellCount,
		"BELL_SLEEPING": layout.BellSleeping,
	}
	for model, text := range sources(t) {
		found := regexp.MustCompile(`(?m)^#define (BELL_\w+) (\S+)`).FindAllStringSubmatch(text, -1)
		silent := []string{"fates", "dense", "broadcast", "skip", "fence"} // or with bits of their own
		if len(found) == 0 && !slices.Contains(silent, model) {
			t.Errorf("%s.pml has no bits", model)
		}
		for _, m := range found {
			if want, ok := bits[m[1]]; !ok || m[2] != fmt.Sprint(want) {
				t.Errorf("%s.pml: %s is %s, the layout says %d", model, m[1], m[2], want)
			}
		}
	}
}

// TestLabels: the places that the models name are in the code.
func TestLabels(t *testing.T) {
	points, err := os.ReadFile("../../internal/killpoint/points.go")
	if err != nil {
		t.Fatal(err)
	}
	wait, err := os.ReadFile("../../ring/notify.go")
	if err != nil {
		t.Fatal(err)
	}
	for model, text := range sources(t) {
		for _, m := range regexp.MustCompile(`killpoint\.(\w+)`).FindAllStringSubmatch(text, -1) {
			if !regexp.MustCompile(`(?m)^\t` + m[1] + `\b`).Match(points) {
				t.Errorf("%s.pml: there is no %s", model, m[0])
			}
		}
		for _, m := range regexp.MustCompile(`\bB\d\b`).FindAllString(text, -1) {
			if !bytes.Contains(wait, []byte(m)) {
				t.Errorf("%s.pml: ring/notify.go has no %s", model, m)
			}
		}
		for _, m := range regexp.MustCompile(`\b(?:ring|futex|doorbell)/\w+\.go`).FindAllString(text, -1) {
			if _, err := os.Stat("../../" + m); err != nil {
				t.Errorf("%s.pml: %v", model, err)
			}
		}
	}
}
