package shmring

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/shmring/shmring/shm"
)

// Verdict says one thing that is the matter with a ring, and what to do about it.
type Verdict struct {
	Code     VerdictCode `json:"code"`
	Severity Severity    `json:"severity"`
	Text     string      `json:"text"` // what is the matter
	Next     string      `json:"next"` // what to do
}

// Severity tells how bad a verdict is.
type Severity string

const (
	SeverityProblem Severity = "problem" // something does not work, and somebody has to do something
	SeverityWarning Severity = "warning" // it may become a problem, or passes by itself
	SeverityOK      Severity = "ok"      // both sides are there, and all is as it should be
	SeverityNote    Severity = "note"    // good to know
)

// rank orders severities as they are told: what is good to know comes last.
func (s Severity) rank() int {
	return slices.Index([]Severity{SeverityProblem, SeverityWarning, SeverityOK, SeverityNote}, s)
}

// VerdictCode names what is the matter.
type VerdictCode string

const (
	VerdictUnreadable VerdictCode = "unreadable"    // the file may not be read, or not be opened
	VerdictNotARing   VerdictCode = "not-a-ring"    // the file is something else
	VerdictVersion    VerdictCode = "other-version" // a ring that another version of the library made
	VerdictDamaged    VerdictCode = "damaged"       // its bytes contradict each other, or some are missing

	VerdictHealthy    VerdictCode = "healthy"    // both sides are there, and nothing is the matter
	VerdictUnused     VerdictCode = "unused"     // nobody is attached, and nothing waits
	VerdictUnattended VerdictCode = "unattended" // nobody is attached, and messages wait
	VerdictStale      VerdictCode = "stale"      // all that were attached have died
	VerdictNoConsumer VerdictCode = "no-consumer"
	VerdictNoProducer VerdictCode = "no-producer"

	VerdictDeadConsumer    VerdictCode = "dead-consumer"
	VerdictDeadProducer    VerdictCode = "dead-producer"
	VerdictDeadClaim       VerdictCode = "dead-claim"       // of an owner that has died, unfinished
	VerdictOpenClaim       VerdictCode = "open-claim"       // of an owner that is alive: it may be about to finish it
	VerdictStalledClaim    VerdictCode = "stalled-claim"    // likewise, and it does not
	VerdictRevokedClaim    VerdictCode = "revoked-claim"    // given up by force-skip, while its owner is alive
	VerdictStalledConsumer VerdictCode = "stalled-consumer" // it is alive, messages wait, and it releases none
	VerdictFull            VerdictCode = "full"             // or nearly
	VerdictNoSlot          VerdictCode = "no-slot"          // no other producer can attach

	VerdictUntold      VerdictCode = "untold"       // streams have ended, and no consumer was told
	VerdictLifeUnknown VerdictCode = "life-unknown" // it cannot be known who is alive
	VerdictOwner       VerdictCode = "other-owner"  // opening it needs AnyOwner
	VerdictExclusive   VerdictCode = "exclusive"    // somebody removes, repairs or resizes it
)

// fullAt is the share of a ring's slots from which on it is called full.
const fullAt = 0.9

// longTime is how long something is open or still before it is called bad.
const longTime = time.Second

// judge finds out what is the matter.
func (s *Snapshot) judge() {
	j := judgement{s: s}
	j.name, j.where = s.forCommands()
	if s.Err != nil {
		j.judgeFailure()
	} else {
		j.judgeRing()
	}
	slices.SortStableFunc(j.list, func(a, b Verdict) int { return cmp.Compare(a.Severity.rank(), b.Severity.rank()) })
	s.Verdicts = j.list
}

// judgement is a snapshot while it is judged.
type judgement struct {
	s        *Snapshot
	name     string // for commands
	where    string // likewise: " -dir DIR", or nothing
	consumer *InspectedPeer
	alive    []InspectedPeer // producers
	dead     []InspectedPeer // of both roles
	unknown  int
	leaving  int // slots of producers that are gone
	list     []Verdict
}

// command is one of the program shmring about the ring, to be copied.
func (j *judgement) command(verb string) string { return "shmring " + verb + j.where + " " + j.name }

// forCommands is what commands call the ring: its name, and a flag that says where it is, unless they look
// there by themselves. A file that has not the name of a ring's is called by its path.
func (s *Snapshot) forCommands() (name, where string) {
	name, is := strings.CutSuffix(filepath.Base(s.Path), shm.Suffix)
	if !is || shm.ValidateName(name) != nil {
		return quoted(s.Path), ""
	}
	dir := filepath.Dir(s.Path)
	if usual, err := shm.Path(name, nil); err == nil && filepath.Dir(usual) == dir {
		return name, ""
	}
	return name, " -dir " + quoted(dir)
}

// quoted is a path as a shell takes it.
func quoted(path string) string {
	ordinary := func(r rune) bool {
		return strings.ContainsRune("/._-+,:@%", r) || unicode.IsLetter(r) || unicode.IsDigit(r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !ordinary(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

func (j *judgement) say(severity Severity, code VerdictCode, text, next string) {
	j.list = append(j.list, Verdict{code, severity, text, next})
}

// judgeFailure is for what cannot be read.
func (j *judgement) judgeFailure() {
	err := j.s.Err
	why := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "shmring: "), "shm: ")
	switch remove := "if nobody needs it: " + j.command("remove"); {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrFormat):
		j.say(SeverityProblem, VerdictNotARing, "this is no ring: "+why, "find out whose file it is; a ring of that name "+
			"cannot be created as long as it is there")
	case errors.Is(err, ErrVersion):
		text := "a ring of another version: " + why
		if f := j.s.File; f != nil && f.Version != "" {
			text = fmt.Sprintf("a ring of version %s, which this program does not speak: %s", f.Version, why)
		}
		j.say(SeverityProblem, VerdictVersion, text, "use programs of the version that made it; "+remove)
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrTruncated):
		j.say(SeverityProblem, VerdictDamaged, "damaged: "+why, "stop its users, keep a copy of the file for who looks "+
			"into it, and "+j.command("remove")+": it is created anew")
	case errors.Is(err, fs.ErrPermission):
		j.say(SeverityProblem, VerdictUnreadable, "it may not be read: "+why, "look as "+j.owner()+" or root, or let the "+
			"owner give read permission (Options.Perm)")
	default:
		j.say(SeverityProblem, VerdictUnreadable, "it cannot be read: "+why, "remedy what the system says")
	}
}

func (j *judgement) owner() string {
	if j.s.File == nil {
		return "its owner"
	}
	return fmt.Sprintf("uid %d", j.s.File.UID)
}

func (j *judgement) judgeRing() {
	j.count()
	if j.s.Ring.Kind == KindBroadcast {
		j.judgeBroadcast()
		return
	}
	stale := j.judgeAttendance()
	if !stale {
		j.judgeDead()
	}
	j.judgeClaims()
	j.judgeRevoked()
	if !j.judgeStalledConsumer() {
		j.judgeFull()
	}
	j.judgeSlots()
	j.judgeRest()
	if !slices.ContainsFunc(j.list, func(v Verdict) bool { return v.Severity.rank() < SeverityOK.rank() }) &&
		j.consumer != nil && len(j.alive) > 0 {
		j.say(SeverityOK, VerdictHealthy, j.tellHealthy(), "nothing")
	}
}

// judgeBroadcast speaks of a ring that has no consumer: nothing waits there, and it is never full.
func (j *judgement) judgeBroadcast() {
	q := j.s.Ring.Queue
	holds := fmt.Sprintf("%s sent so far, the newest %d are there for observers, of whom a ring does not know",
		count(q.Sent, "message"), q.Messages)
	switch {
	case len(j.alive) > 0:
		j.say(SeverityOK, VerdictHealthy, tellPeers(j.alive)+" alive; "+holds, "nothing; "+j.command("tap")+" shows them")
	case len(j.dead) > 0:
		j.say(SeverityWarning, VerdictStale, "left behind: "+tellPeers(j.dead)+" died without leaving; "+holds,
			"start a producer, which goes on behind the last message; "+j.command("recover")+" frees its place now, "+
				j.command("remove")+" throws all of it away")
	default:
		j.say(SeverityNote, VerdictUnused, "nobody sends; "+holds, "start a producer to go on, or "+j.command("remove"))
	}
	j.judgeRest()
}

// count sorts who is there.
func (j *judgement) count() {
	peers := j.s.Ring.Peers
	for i := range peers {
		p := &peers[i]
		if p.Role == RoleConsumer {
			j.consumer = p
		}
		switch p.Life {
		case LifeAlive:
			if p.Role == RoleProducer {
				j.alive = append(j.alive, *p)
			}
		case LifeDead:
			j.dead = append(j.dead, *p)
		case LifeUnknown:
			j.unknown++
			if p.Role == RoleProducer {
				j.alive = append(j.alive, *p) // in doubt
			}
		case LifeGone:
			j.leaving++
		}
	}
}

// isAlive tells whether a participant is alive, as far as one knows.
func (p *InspectedPeer) isAlive() bool {
	return p != nil && (p.Life == LifeAlive || p.Life == LifeUnknown)
}

// tellQueue says what waits.
func (j *judgement) tellQueue() string {
	q := j.s.Ring.Queue
	n := count(q.Messages, "message")
	switch {
	case q.Limited:
		n = "at least " + n
	case !q.Exact:
		n = "about " + n
	}
	return n
}

func count[T int | uint64](n T, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// moved is how far the consumer has released while we watched.
func (j *judgement) moved() string {
	if j.s.Ring.Kind == KindSPSC {
		return count(j.s.Ring.Queue.Moved, "byte")
	}
	return count(j.s.Ring.Queue.Moved, "slot")
}

// percent is how full the ring is.
func (j *judgement) percent() string {
	return fmt.Sprintf("ring %.0f %% full", 100*j.s.Ring.Queue.Fraction)
}

// tellPeer says who a participant is.
func tellPeer(p InspectedPeer) string {
	text := string(p.Role)
	if p.Role == RoleProducer {
		text += fmt.Sprintf(" %d.%d", p.Participant, p.Epoch)
	}
	return fmt.Sprintf("%s (%s)", text, tellPID(p.PID, p.PIDHere))
}

// tellPID names a process as it calls itself, and as it is called here.
func tellPID(pid, here int) string {
	if here == 0 || here == pid {
		return fmt.Sprintf("pid %d", pid)
	}
	return fmt.Sprintf("pid %d, here %d", pid, here)
}

func tellPeers(list []InspectedPeer) string {
	const most = 4
	var texts []string
	for i, p := range list {
		if i == most {
			texts = append(texts, fmt.Sprintf("%d more", len(list)-most))
			break
		}
		texts = append(texts, tellPeer(p))
	}
	return strings.Join(texts, ", ")
}

// judgeAttendance says who is not there. stale: all are dead.
func (j *judgement) judgeAttendance() (stale bool) {
	q := j.s.Ring.Queue
	consumer, producers := j.consumer.isAlive(), len(j.alive)
	open := "open it to go on"
	switch {
	case consumer && producers > 0:
	case !consumer && producers == 0 && len(j.dead) > 0:
		j.say(SeverityWarning, VerdictStale, j.tellStale(), open+", which frees what the dead hold; "+
			j.command("recover")+" does that now, "+j.command("remove")+" throws all of it away")
		return true
	case !consumer && producers == 0 && q.Messages == 0 && q.OpenClaims == 0:
		j.say(SeverityNote, VerdictUnused, "nobody attached; nothing waits", open+", or "+j.command("remove"))
	case !consumer && producers == 0:
		j.say(SeverityWarning, VerdictUnattended, "nobody attached; "+j.tellQueue(), open)
	case !consumer && j.consumer == nil:
		severity, text := SeverityWarning, fmt.Sprintf("no consumer; %s attached; %s, %s",
			count(producers, "producer"), j.tellQueue(), j.percent())
		if q.Fraction >= fullAt {
			severity = SeverityProblem
		}
		j.say(severity, VerdictNoConsumer, text, "start a consumer")
	case consumer && producers == 0:
		j.say(SeverityNote, VerdictNoProducer, fmt.Sprintf("no producer; %s attached; %s", tellPeer(*j.consumer),
			j.tellQueue()), "start a producer, if there is to be one")
	}
	return false
}

func (j *judgement) tellStale() string {
	boot := ""
	if slices.ContainsFunc(j.dead, func(p InspectedPeer) bool { return p.EarlierBoot }) {
		boot = ", before the machine was started anew"
	}
	return fmt.Sprintf("left behind: %s died without leaving%s; nobody else attached; %s", tellPeers(j.dead), boot,
		j.tellQueue())
}

// judgeDead says who has died while others are there.
func (j *judgement) judgeDead() {
	q := j.s.Ring.Queue
	var producers []InspectedPeer
	for _, p := range j.dead {
		if p.Role == RoleProducer {
			producers = append(producers, p)
			continue
		}
		again := ""
		if q.Redelivered > 0 {
			again = fmt.Sprintf(", and gets %d again that the dead one may have seen", q.Redelivered)
		}
		j.say(SeverityProblem, VerdictDeadConsumer, fmt.Sprintf("%s has died, and nobody has its role; %s, %s",
			tellPeer(p), j.tellQueue(), j.percent()), "start a consumer: it takes over where that one stopped"+again)
	}
	if len(producers) == 0 {
		return
	}
	next := "nothing: the consumer finds that, and tells its user"
	if !j.consumer.isAlive() {
		next = "nothing: the next to open the ring finds that"
	}
	j.say(SeverityNote, VerdictDeadProducer, tellPeers(producers)+" died without leaving", next)
}

// judgeClaims speaks of the oldest unfinished claim: others cannot hold anybody up before it does.
func (j *judgement) judgeClaims() {
	if len(j.s.Ring.Claims) == 0 {
		return
	}
	c := j.s.Ring.Claims[0]
	pid := cmp.Or(c.PIDHere, c.PID)
	text := fmt.Sprintf("claim at %d of %s", c.Position.Record, tellPID(c.PID, c.PIDHere))
	behind := ""
	if c.Position.Compare(j.s.Ring.Queue.ReadPos) == 0 {
		behind = "; nothing behind it can be received"
	}
	remedy := fmt.Sprintf("killing it makes the consumer pass over the claim; %s %d gives it up",
		j.command("force-skip"), c.Position.Record)
	switch {
	case c.Life == LifeDead || c.Life == LifeGone:
		next := "nothing: the consumer passes over it"
		if !j.consumer.isAlive() {
			next = "open a consumer, which passes over it"
		}
		j.say(SeverityWarning, VerdictDeadClaim, text+", which has died, is unfinished", next)
	case c.Process == ProcessStopped:
		text += fmt.Sprintf(" open%s; pid %d is stopped%s", lasting(c.OpenFor), pid, behind)
		j.say(SeverityProblem, VerdictStalledClaim, text, fmt.Sprintf("kill -CONT %d lets it go on; %s", pid, remedy))
	case c.OpenFor > 0:
		severity := SeverityProblem
		if c.OpenFor < longTime {
			severity = SeverityWarning
		}
		j.say(severity, VerdictStalledClaim, text+" open"+lasting(c.OpenFor)+j.doubt(c)+behind,
			fmt.Sprintf("look at what pid %d does between claim and commit; %s", pid, remedy))
	default:
		j.say(SeverityNote, VerdictOpenClaim, text+" is open"+j.doubt(c), "look again: a claim is open for a moment")
	}
}

func (j *judgement) doubt(c OpenClaim) string {
	if c.Life == LifeUnknown {
		return "; whether that lives is not known"
	}
	return ""
}

// lasting says how long something was seen to last.
func lasting(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return " for " + tellTime(d)
}

// tellTime is a duration in two digits or so.
func tellTime(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}

// judgeRevoked speaks of claims that were given up by force.
func (j *judgement) judgeRevoked() {
	q := j.s.Ring.Queue
	for _, p := range j.alive {
		if !p.Revoked || p.RevokedAt.Compare(q.ReadPos) < 0 || p.RevokedAt.Compare(q.End) >= 0 {
			continue
		}
		text := fmt.Sprintf("the claim at %d of %s was given up; no room from there on is used again before that closes the "+
			"ring or dies", p.RevokedAt.Record, tellPeer(p))
		j.say(SeverityWarning, VerdictRevokedClaim, text,
			fmt.Sprintf("let it go on (kill -CONT %d, if it is stopped) so that it closes, or kill it",
				cmp.Or(p.PIDHere, p.PID)))
	}
}

// judgeStalledConsumer speaks of one that has messages and releases none.
func (j *judgement) judgeStalledConsumer() bool {
	q := j.s.Ring.Queue
	stopped := j.consumer != nil && j.consumer.Process == ProcessStopped
	revoked := slices.ContainsFunc(j.list, func(v Verdict) bool { return v.Code == VerdictRevokedClaim })
	if !j.consumer.isAlive() || q.Messages == 0 || revoked || q.StillFor == 0 && !stopped {
		return false
	}
	pid := cmp.Or(j.consumer.PIDHere, j.consumer.PID)
	text := tellPeer(*j.consumer) + " alive"
	if q.StillFor > 0 {
		text += ", has not released" + lasting(q.StillFor)
	}
	next := fmt.Sprintf("find out what pid %d does with the message at %v (a goroutine dump: kill -QUIT, which ends it)",
		pid, q.Oldest)
	severity := SeverityWarning
	if q.StillFor < longTime {
		severity = SeverityNote // it may have much to do with one message
	}
	switch {
	case stopped:
		text += fmt.Sprintf("; pid %d is stopped", pid)
		next = fmt.Sprintf("kill -CONT %d lets it go on; if it is killed, another consumer can take over", pid)
		severity = SeverityProblem
	case j.s.Ring.ConsumerSleeps:
		text += "; it waits for a wake-up, and looks by itself within half a second"
	}
	if q.Fraction >= fullAt {
		severity = SeverityProblem
	}
	j.say(severity, VerdictStalledConsumer, fmt.Sprintf("%s; %s, %s", text, j.tellQueue(), j.percent()), next)
	return true
}

// judgeFull speaks of a ring whose consumer is alive and does not keep up.
func (j *judgement) judgeFull() {
	q := j.s.Ring.Queue
	if q.Fraction < fullAt || !j.consumer.isAlive() {
		return // without a consumer that was said
	}
	text, next := j.percent()+"; "+tellPeer(*j.consumer)+" alive", "watch whether it moves: "+j.command("inspect -watch")
	if q.Moved > 0 {
		text += fmt.Sprintf(", released %s in %s", j.moved(), tellTime(j.s.Watched))
		next = "make the consumer faster, or the ring larger for bursts: " + j.command("resize")
	}
	if n := j.s.Ring.Produced.Full; n > 0 {
		text += fmt.Sprintf("; producers met a full ring %s so far", count(n, "time"))
	}
	j.say(SeverityWarning, VerdictFull, text, next)
}

// judgeSlots speaks of rings that no producer can attach to.
func (j *judgement) judgeSlots() {
	r := j.s.Ring
	if j.leaving == 0 || len(j.alive)+j.leaving < r.Geometry.MaxProducers {
		return
	}
	text := fmt.Sprintf("all %s are taken, %d of them until a consumer has passed what their dead owners left",
		count(r.Geometry.MaxProducers, "producer slot"), j.leaving)
	j.say(SeverityWarning, VerdictNoSlot, text, "let a consumer take what waits")
}

// judgeRest says what is good to know besides.
func (j *judgement) judgeRest() {
	streams, died := 0, 0
	for _, e := range j.s.Ring.Untold {
		streams += e.Streams
		if e.Fate >= FateFailed {
			died++
		}
	}
	if streams > 0 && !j.consumer.isAlive() {
		text := count(streams, "stream") + " ended of which no consumer was told"
		if died > 0 {
			text += fmt.Sprintf(", %d of them died or failed", died)
		}
		j.say(SeverityNote, VerdictUntold, text, "nothing: the next consumer is told, behind the messages")
	}
	if j.unknown > 0 {
		text := fmt.Sprintf("of %s it is not known whether they live: locks by flock are seen by those who "+
			"may write the ring, and not from other PID namespaces", count(j.unknown, "participant"))
		j.say(SeverityNote, VerdictLifeUnknown, text, "look as its owner or root, and from the host or where they run")
	}
	f := j.s.File
	if f.Exclusive {
		j.say(SeverityNote, VerdictExclusive, fmt.Sprintf("pid %d has the ring alone: it removes, repairs or resizes it",
			f.Attached[0]), "wait for it")
	}
	if uid := os.Geteuid(); f.UID != uid && f.UID != 0 {
		j.say(SeverityNote, VerdictOwner, fmt.Sprintf("it belongs to uid %d, and you are uid %d", f.UID, uid),
			"opening it needs -any-owner (Options.AnyOwner), which trusts its owner")
	}
}

// tellHealthy says how well it goes.
func (j *judgement) tellHealthy() string {
	text := fmt.Sprintf("%s and %s alive; %s, %s", tellPeer(*j.consumer), count(len(j.alive), "producer"), j.tellQueue(),
		j.percent())
	if j.s.Watched > 0 {
		text += fmt.Sprintf("; %s released in %s", j.moved(), tellTime(j.s.Watched))
	}
	return text
}
