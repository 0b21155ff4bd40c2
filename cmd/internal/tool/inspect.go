package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
)

const lsHelp = `Usage: shmring ls [flags] [DIR]

Lists the rings of a directory: how full each is, who is attached, and what is the matter
with it, in a line each. It changes nothing, takes no lock, and is felt by nobody. Files
that are no rings, that are damaged, of another version, or that may not be read are
listed with the reason, and are no error.
`

const inspectHelp = `Usage: shmring inspect [flags] NAME

Shows all that can be seen of a ring from outside: what is the matter and what to do about
it, the worst first; who is attached, alive, stopped or dead; what is queued; claims that
are not finished; what no consumer was told; counters. It changes nothing, takes no role
and no lock, and is felt by nobody: the ring may be in use, resized or removed meanwhile.

It looks twice, because one look does not show whether anything moves. How long something
has lasted is only what was seen: "for 1.0 s" was so at both looks.

The exit code says whether the ring could be looked at: 4 if it is damaged or no ring, 1 if
it is not there, of another version or may not be read. Whatever else is the matter is code 0.
`

const checkHelp = `Usage: shmring check [flags] FILE

Checks the file of a ring, which may be a copy from elsewhere, without changing it: the
header and its checksum, participants, and every record that waits, those of batches too.
Code 0: sound. Code 4: damaged, or no ring. Code 1: it cannot be read, or is of another
version, or the ring was in use and moved too fast to be checked.
`

const lsFlags = `  -for DURATION
             look twice, so long apart, to see what moves (default: once)
`

const inspectFlags = `  -for DURATION
             how long between looks (default 1s); 0: look once
  -watch     look again and again, until a signal ends it; with -json an object in
             a line for each look
`

// looks adds the flag that says how long to watch.
func looks(f *cli.Flags, watch *time.Duration) {
	f.Duration(watch, "for")
}

func checkWatch(d time.Duration) error {
	if d < 0 {
		return cli.Usagef("-for %v: want a duration like 1s, or 0", d)
	}
	return nil
}

// listRings is what ls does.
func listRings(f *cli.Flags) action {
	var o shmring.InspectOptions
	looks(f, &o.Watch)
	return func(ctx context.Context, args []string, admin *shmring.AdminOptions) (any, string, error) {
		if err := checkWatch(o.Watch); err != nil {
			return nil, "", err
		}
		o.Dir = admin.Dir
		if err := takeDir(&o.Dir, args); err != nil {
			return nil, "", err
		}
		list, err := shmring.List(ctx, &o)
		if list == nil {
			list = []shmring.Snapshot{}
		}
		return list, tellList(list), err
	}
}

// tellList is a table, a ring in a line.
func tellList(list []shmring.Snapshot) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tKIND\tFULL\tMESSAGES\tCONSUMER\tPRODUCERS\tVERDICT")
	for _, s := range list {
		c := cellsOf(s)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Name, c.kind, c.full, c.messages, c.consumer, c.producers, c.verdict)
	}
	_ = w.Flush() // into memory
	return text.String()
}

// cells are what a line of a table says of a ring.
type cells struct{ kind, full, messages, consumer, producers, verdict string }

func cellsOf(s shmring.Snapshot) cells {
	v := s.Verdicts[0]
	c := cells{"-", "-", "-", "-", "-", fmt.Sprintf("%s: %s", v.Code, v.Text)}
	r := s.Ring
	if r == nil {
		return c
	}
	c.kind, c.full, c.messages = r.KindName, fmt.Sprintf("%.0f%%", 100*r.Queue.Fraction), tellMessages(r.Queue)
	n := 0
	for _, p := range r.Peers {
		switch {
		case p.Role == shmring.RoleConsumer:
			c.consumer = tellAttended(p)
		case p.Life == shmring.LifeAlive || p.Life == shmring.LifeUnknown:
			n++
		}
	}
	c.producers = fmt.Sprint(n)
	return c
}

func tellAttended(p shmring.InspectedPeer) string {
	if p.Life == shmring.LifeAlive {
		return fmt.Sprint(p.PID)
	}
	return fmt.Sprintf("%d %s", p.PID, p.Life)
}

func tellMessages(q shmring.Queue) string {
	switch {
	case q.Limited:
		return fmt.Sprintf(">%d", q.Messages)
	case !q.Exact:
		return fmt.Sprintf("~%d", q.Messages)
	}
	return fmt.Sprint(q.Messages)
}

// inspectRing is what inspect does.
func inspectRing(f *cli.Flags) streaming {
	watch, again := time.Second, false
	looks(f, &watch)
	f.Bool(&again, "watch")
	return func(ctx context.Context, args []string, admin *shmring.AdminOptions, asJSON bool, stdout io.Writer) error {
		if err := checkWatch(watch); err != nil {
			return err
		}
		if again && watch == 0 {
			return cli.Usagef("-watch needs a time between looks: -for 1s")
		}
		o := &shmring.InspectOptions{Dir: admin.Dir, Watch: watch}
		if !again {
			s, err := shmring.Inspect(ctx, args[0], o)
			if err == nil {
				err = printSnapshot(s, asJSON, stdout)
			}
			return err
		}
		return watchRing(ctx, args[0], o, asJSON, stdout)
	}
}

// watchRing looks until ctx ends, which is no error, or the ring is gone.
func watchRing(ctx context.Context, name string, o *shmring.InspectOptions, asJSON bool, stdout io.Writer) error {
	in, err := shmring.NewInspector(name, o)
	if err != nil {
		return err
	}
	tick := time.NewTicker(o.Watch)
	defer tick.Stop()
	for first := true; ; first = false {
		s, err := in.Look()
		if err != nil {
			return err
		}
		if !asJSON && !first {
			if _, err := io.WriteString(stdout, "\n"); err != nil {
				return err
			}
		}
		if err := printSnapshot(s, asJSON, stdout); err != nil && s.Err == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// printSnapshot prints one. The error says why it could not, or why the ring cannot be read.
func printSnapshot(s shmring.Snapshot, asJSON bool, stdout io.Writer) (err error) {
	if asJSON {
		err = json.NewEncoder(stdout).Encode(s)
	} else {
		_, err = io.WriteString(stdout, tellSnapshot(s))
	}
	if err == nil && s.Err != nil {
		err = &told{unsound(s)}
	}
	return err
}

// told is an error of which -json has told already.
type told struct{ error }

func (t *told) Unwrap() error { return t.error }

// unsound makes the error of what is no ring, or a damaged one, have the exit code for that.
func unsound(s shmring.Snapshot) error {
	switch s.Verdicts[0].Code {
	case shmring.VerdictDamaged, shmring.VerdictNotARing:
		return corrupt{s.Err}
	}
	return s.Err
}

type corrupt struct{ error }

func (c corrupt) Is(target error) bool { return target == shmring.ErrCorrupt }
func (c corrupt) Unwrap() error        { return c.error }

// tellSnapshot tells people all of it.
func tellSnapshot(s shmring.Snapshot) string {
	var b strings.Builder
	watched := ""
	if s.Watched > 0 {
		watched = fmt.Sprintf(", watched for %v", s.Watched.Round(time.Millisecond))
	}
	fmt.Fprintf(&b, "%s  %s%s\n", s.Path, s.Time.Format("2006-01-02 15:04:05.000"), watched)
	for _, v := range s.Verdicts {
		fmt.Fprintf(&b, "%-8s  %s: %s\n%-8s  next: %s\n", v.Severity, v.Code, v.Text, "", v.Next)
	}
	line := func(head, format string, args ...any) {
		fmt.Fprintf(&b, "%-8s  "+format+"\n", append([]any{head}, args...)...)
	}
	if f := s.File; f != nil {
		line("file", "%d bytes, uid %d, gid %d, mode %s%s", f.Size, f.UID, f.GID, f.Mode, tellIdentity(*f))
		if f.Known {
			line("open by", "%s", tellPIDs(f.Attached))
		}
	}
	if s.Ring != nil {
		tellRing(*s.Ring, line)
	}
	return b.String()
}

func tellIdentity(f shmring.RingFile) (text string) {
	if f.Version != "" {
		text += ", version " + f.Version + ", uuid " + f.UUID
	}
	if !f.Created.IsZero() {
		text += ", created " + f.Created.Format("2006-01-02 15:04:05")
	}
	return text
}

func tellPIDs(pids []int) string {
	if len(pids) == 0 {
		return "nobody"
	}
	return "pid " + strings.Trim(strings.ReplaceAll(fmt.Sprint(pids), " ", ", "), "[]")
}

func tellRing(r shmring.RingState, line func(head, format string, args ...any)) {
	line("ring", "%s, %s; doorbell %s, locks %s", r.KindName, tellGeometry(r.Geometry), r.Doorbell, r.Locks)
	q := r.Queue
	oldest := ""
	if q.Messages > 0 {
		oldest = fmt.Sprintf(", the oldest at %v, %d perhaps seen before", q.Oldest, q.Redelivered)
	}
	line("queue", "%s messages, %d bytes%s; %d slots of %d taken, from %d on; %d claims open", tellMessages(q), q.Bytes,
		oldest, q.Slots, r.Geometry.Slots, q.ReadPos.Record, q.OpenClaims)
	for _, p := range r.Peers {
		line(string(p.Role), "%s", tellPeer(p))
	}
	for _, c := range r.Claims {
		openFor := ""
		if c.OpenFor > 0 {
			openFor = fmt.Sprintf(", open for %v at least", c.OpenFor.Round(time.Millisecond))
		}
		line("claim", "at %d, %d slots, of producer %d, pid %d %s (process %s)%s", c.Position.Record, c.Slots, c.Producer,
			c.PID, c.Life, c.Process, openFor)
	}
	for _, e := range r.Untold {
		line("untold", "producer %d.%d (pid %d) %s before %d", e.Producer, e.Epoch, e.PID, e.FateName, e.Position.Record)
	}
	if h := r.Queueing; h != nil {
		line("waited", "%v on average, of %d messages that were measured: %s", h.Sum/time.Duration(h.Count), h.Count,
			tellBuckets(h.Buckets))
	}
	line("asleep", "consumer %s, producers %s", yes(r.ConsumerSleeps), yes(r.ProducersSleep))
	line("counted", "%s", tellCounts(r))
}

// tellCounts says what was counted since the ring was made.
func tellCounts(r shmring.RingState) string {
	sent := ""
	switch q := r.Queue; {
	case q.SentKnown:
		sent = fmt.Sprintf("%d messages sent since it was made", q.Sent)
	case q.Sent > 0:
		sent = fmt.Sprintf("at least %d messages sent since it was made", q.Sent)
	}
	deaths := r.Consumed.Deaths + r.Produced.Deaths
	if r.Kind == shmring.KindBroadcast {
		return fmt.Sprintf("%s; %d deaths found; %d events", sent, deaths, r.Events)
	}
	if sent != "" {
		sent += "; "
	}
	return fmt.Sprintf("%s%d messages, %d bytes consumed; producers met a full ring %d times, dropped %d; "+
		"%d claims of the dead passed over, %d deaths found; %d events; at most %d slots were seen taken",
		sent, r.Consumed.Messages, r.Consumed.Bytes, r.Produced.Full, r.Produced.Dropped, r.Consumed.Skipped, deaths,
		r.Events, r.Produced.HighWater)
}

// tellBuckets says how many messages waited how long.
func tellBuckets(list []shmring.QueueingBucket) string {
	var texts []string
	var limit time.Duration
	for _, b := range list {
		switch {
		case b.Count == 0:
		case b.Max == 0:
			texts = append(texts, fmt.Sprintf("%d longer than %v", b.Count, limit))
		default:
			texts = append(texts, fmt.Sprintf("%d up to %v", b.Count, b.Max))
		}
		limit = b.Max
	}
	return strings.Join(texts, ", ")
}

func yes(is bool) string {
	if is {
		return "yes"
	}
	return "no"
}

func tellPeer(p shmring.InspectedPeer) string {
	text := fmt.Sprintf("pid %d %s", p.PID, p.Life)
	if p.Role == shmring.RoleProducer {
		text = fmt.Sprintf("%d.%d, %s", p.Participant, p.Epoch, text)
	}
	if p.PIDHere != 0 && p.PIDHere != p.PID {
		text += fmt.Sprintf(", here pid %d", p.PIDHere)
	}
	text += fmt.Sprintf(" (process %s)", p.Process)
	if p.Label != "" {
		text += ", " + p.Label
	}
	if !p.Since.IsZero() {
		text += ", since " + p.Since.Format("2006-01-02 15:04:05")
	}
	if !p.Progress.IsZero() {
		text += ", has moved messages at " + p.Progress.Format("15:04:05.000") + " or later"
	}
	if p.EarlierBoot {
		text += ", in an earlier boot"
	}
	if p.Revoked {
		text += fmt.Sprintf(", its claim at %d was given up", p.RevokedAt.Record)
	}
	if p.Role == shmring.RoleProducer && !p.Open && p.Life != shmring.LifeGone {
		text += ", has ended its stream"
	}
	return text
}

// checkFile is what check does.
func checkFile(ctx context.Context, args []string, _ *shmring.AdminOptions) (any, string, error) {
	s, err := shmring.InspectFile(ctx, args[0], nil)
	if err != nil {
		return nil, "", err
	}
	if s.Err != nil {
		return nil, "", unsound(s)
	}
	q := s.Ring.Queue
	switch {
	case !q.Exact:
		return nil, "", errors.New(s.Path + ": it is in use, and moved too fast to be checked: check a copy")
	case q.Limited:
		return nil, "", fmt.Errorf("%s: it holds more than the %d messages that were checked", s.Path, q.Messages)
	}
	report := struct {
		Path       string `json:"path"`
		Sound      bool   `json:"sound"`
		Version    string `json:"version"`
		Kind       string `json:"kind"`
		Messages   uint64 `json:"messages"`
		Bytes      uint64 `json:"bytes"`
		OpenClaims int    `json:"open_claims"`
	}{s.Path, true, s.File.Version, s.Ring.KindName, q.Messages, q.Bytes, q.OpenClaims}
	return report, fmt.Sprintf("%s: sound: %s ring of version %s, %d messages, %d bytes, %d claims open\n", s.Path,
		report.Kind, report.Version, q.Messages, q.Bytes, q.OpenClaims), nil
}
