package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/recording"
)

// tapLine is what tap -json prints.
type tapLine struct {
	Position string
	Kind     uint16
	Sequence uint64
	Missed   uint64
	Bytes    int
	Text     *string
	Base64   []byte

	End      string
	Messages uint64
	Error    string
	ExitCode int `json:"exit_code"`
}

func tapLines(t *testing.T, p *process) (list []tapLine) {
	t.Helper()
	for _, line := range lines(p.stdout.String()) {
		var l tapLine
		require.NoError(t, json.Unmarshal([]byte(line), &l), line)
		list = append(list, l)
	}
	return list
}

// sender is a producer in this process.
func sender(t *testing.T, o *shmring.Options) *shmring.Producer {
	t.Helper()
	p, err := shmring.OpenProducer(t.Context(), "r", o)
	require.NoError(t, err)
	t.Cleanup(func() { p.Close() })
	return p
}

// Who taps a ring gets what is sent, in words for people and for programs, and nobody notices.
func TestTap(t *testing.T) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		dir := ringDir(t)
		p := sender(t, &shmring.Options{Dir: dir, Kind: kind})
		for i, msg := range []string{"hello", "", "\xff\"\n"} {
			require.NoError(t, p.TrySendKind([]byte(msg), uint16(i)))
		}
		text := command(t, dir, "tap -from oldest -count 3 r")
		text.ends(0)
		require.Regexp(t,
			`^0.0 kind 0, 5 bytes: "hello"\n[\d.]+ kind 1, 0 bytes: ""\n[\d.]+ kind 2, 3 bytes: "\\xff\\"\\n"\n$`,
			text.stdout.String())
		require.Equal(t, "shmring tap: 3 messages, 8 B\n", text.stderr.String())

		hex := command(t, dir, "tap -from oldest -hex -kind 0,2 -for 100ms r")
		hex.ends(0)
		require.Contains(t, hex.stdout.String(), "  00000000  68 65 6c 6c 6f ")
		require.NotContains(t, hex.stdout.String(), "kind 1")

		js := command(t, dir, "tap -from oldest -json r")
		js.prints(3)
		require.NoError(t, p.TrySend([]byte("later")))
		js.prints(4)
		js.signal(unix.SIGINT)
		js.ends(0)
		list := tapLines(t, js)
		require.Len(t, list, 5)
		require.Equal(t, "hello", *list[0].Text)
		require.Equal(t, "", *list[1].Text)
		require.Nil(t, list[2].Text)
		require.Equal(t, []byte("\xff\"\n"), list[2].Base64)
		require.Equal(t, tapLine{End: "signal", Messages: 4}, list[4])
		for i, l := range list[:4] {
			require.EqualValues(t, i+1, l.Sequence)
			require.Zero(t, l.Missed)
		}

		at := command(t, dir, "tap -from "+list[2].Position+" -count 1 -json r")
		at.ends(0)
		require.EqualValues(t, 2, tapLines(t, at)[0].Kind)
		require.Empty(t, js.stderr.String())
	}
}

// What tap says when there is nothing to be seen.
func TestTapSaysWhyNothingComes(t *testing.T) {
	dir := ringDir(t)
	none := command(t, dir, "tap r")
	none.ends(1)
	require.Contains(t, none.stderr.String(), "no such file")

	early := command(t, dir, "tap -wait -count 1 r")
	p := sender(t, &shmring.Options{Dir: dir, Slots: 8, SlotSize: shmring.NoPayload, MaxMessage: 48})
	early.says("no message for 1s; the ring is ")
	require.NoError(t, p.TrySend([]byte("first")))
	early.ends(0)

	for p.TrySend([]byte("more")) == nil {
	}
	full := command(t, dir, "tap r")
	full.says("no message for 1s; the ring is no-consumer: ")
	require.NoError(t, p.Close())
	ended := command(t, dir, "tap -from oldest r")
	ended.prints(2)
	ended.says("no message for 1s; the ring is unattended: ")
	require.NoError(t, shmring.Remove(t.Context(), "r", &shmring.AdminOptions{Dir: dir}))
	for _, p := range []*process{full, ended} {
		p.ends(1)
		require.Contains(t, p.stderr.String(), "orphaned: the name is gone")
	}

	sized := sender(t, &shmring.Options{Dir: dir})
	require.NoError(t, sized.TrySend([]byte("before")))
	taps := command(t, dir, "tap -from oldest r")
	taps.prints(1)
	require.NoError(t, sized.Close())
	command(t, dir, "resize -slots 16384 r").ends(0)
	taps.ends(1)
	require.Contains(t, taps.stderr.String(), "orphaned: ")
	command(t, dir, "tap -from oldest -count 1 r").prints(1)
	require.NoError(t, shmring.Remove(t.Context(), "r", &shmring.AdminOptions{Dir: dir}))

	file := filepath.Join(dir, "r.shmring")
	require.NoError(t, os.WriteFile(file, []byte("no ring"), 0o600))
	for _, verb := range []string{"tap r", "hz r", "record r " + filepath.Join(dir, "rec")} {
		damaged := command(t, dir, verb)
		damaged.ends(4)
	}
	require.NoError(t, os.Remove(file))
	require.NoFileExists(t, filepath.Join(dir, "rec"))
}

// A ring that is damaged while it is tapped is an error.
func TestTapOfARingThatIsTruncated(t *testing.T) {
	dir := ringDir(t)
	p := sender(t, &shmring.Options{Dir: dir})
	require.NoError(t, p.TrySend([]byte("first")))
	tap := command(t, dir, "tap -json -from oldest r")
	tap.prints(1)
	require.NoError(t, os.Truncate(filepath.Join(dir, "r.shmring"), 0))
	tap.ends(4)
	list := tapLines(t, tap)
	require.Equal(t, 4, list[len(list)-1].ExitCode)
	require.Contains(t, list[len(list)-1].Error, "bytes")
}

// Who is too slow is told how much it missed.
func TestTapThatIsTooSlow(t *testing.T) {
	dir := ringDir(t)
	p := sender(t, &shmring.Options{Dir: dir, Slots: 8, SlotSize: shmring.NoPayload, MaxMessage: 48})
	c, err := shmring.OpenConsumer(t.Context(), "r", &shmring.Options{Dir: dir})
	require.NoError(t, err)
	defer c.Close()
	buf := make([]byte, 48)
	pass := func(i int) {
		require.NoError(t, p.TrySend(fmt.Append(nil, i)))
		_, err := c.Receive(t.Context(), buf)
		require.NoError(t, err)
	}
	tap := command(t, dir, "tap -json -from oldest r")
	text := command(t, dir, "tap -from oldest r")
	pass(0)
	tap.prints(1)
	text.prints(1)
	for _, p := range []*process{tap, text} {
		p.signal(unix.SIGSTOP)
	}
	sent := 1
	for ; sent < 10000; sent++ {
		pass(sent)
	}
	for _, p := range []*process{tap, text} {
		p.signal(unix.SIGCONT)
	}
	polls := 0
	eventually(t, "the newest message", func() bool {
		if newest := fmt.Sprintf("%q", fmt.Sprint(sent-1)); polls > 0 &&
			strings.Contains(tap.stdout.String(), newest) && strings.Contains(text.stdout.String(), newest) {
			return true // and so all that they missed is told
		}
		if polls%50 == 0 { // what they missed is told with a message behind that
			pass(sent)
			sent++
		}
		polls++
		return false
	})
	for _, p := range []*process{tap, text} {
		p.signal(unix.SIGTERM)
		p.ends(0)
	}
	missed, next := uint64(0), uint64(1)
	list := tapLines(t, tap)
	for _, l := range list[:len(list)-1] {
		missed += l.Missed
		require.Equal(t, next+l.Missed, l.Sequence)
		next = l.Sequence + 1
	}
	require.Positive(t, missed)
	end := list[len(list)-1]
	require.EqualValues(t, len(list)-1, end.Messages)
	require.Equal(t, missed, end.Missed)
	require.Regexp(t, `\n# missed \d+ messages\n`, text.stdout.String())
	require.Contains(t, text.stderr.String(), "; missed ")
}

func TestHz(t *testing.T) {
	dir := ringDir(t)
	producer(t, dir, "-generate 0 -rate 1000 -size 10-20")
	consumer(t, dir, "", stdout(io.Discard))
	js := command(t, dir, "hz -wait -every 200ms -count 3 -json r")
	js.ends(0)
	for _, line := range lines(js.stdout.String()) {
		var got struct {
			Seconds, Rate float64
			Messages      uint64
			Size          struct{ Min, Mean, Max float64 }
			Gap           struct{ Mean, Deviation float64 } `json:"gap_seconds"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &got))
		require.Positive(t, got.Messages)
		require.GreaterOrEqual(t, got.Size.Min, 10.0)
		require.LessOrEqual(t, got.Size.Max, 20.0)
		require.Positive(t, got.Gap.Mean)
	}
	require.Len(t, lines(js.stdout.String()), 3)
	text := command(t, dir, "hz -every 100ms r")
	text.prints(2)
	text.signal(unix.SIGINT)
	text.ends(0)
	require.Regexp(t, `messages/s, .*/s; 1\d to \d+ bytes, .* on average; gaps .* deviation`, text.stdout.String())
}

// What was recorded is sent again byte for byte, into a ring like the one that it comes from.
func TestRecordAndReplay(t *testing.T) {
	for _, kind := range []shmring.Kind{shmring.KindSPSC, shmring.KindMPSC} {
		dir := ringDir(t)
		file := filepath.Join(dir, "rec")
		p := sender(t, &shmring.Options{Dir: dir, Kind: kind, Slots: 4096, SlotSize: 64, MaxMessage: 5000})
		random := rand.New(rand.NewPCG(1, 2))
		var want [][]byte
		var kinds []uint16
		for range 300 {
			msg := make([]byte, random.IntN(300))
			for i := range msg {
				msg[i] = byte(random.Uint32())
			}
			want, kinds = append(want, msg), append(kinds, uint16(random.Uint32()))
		}
		want[7], want[8] = make([]byte, 5000), nil
		for i, msg := range want {
			require.NoError(t, p.TrySendKind(msg, kinds[i]))
		}
		rec := command(t, dir, "record -json -from oldest -count 300 -rotate-size 20K r "+file)
		rec.ends(0)
		var sum struct {
			Messages, Missed, Rotated int
			End                       string
		}
		require.NoError(t, json.Unmarshal([]byte(rec.stdout.String()), &sum))
		require.Equal(t, 300, sum.Messages)
		require.Equal(t, "-count", sum.End)
		require.Positive(t, sum.Rotated)

		again := command(t, dir, "record r "+file)
		again.ends(1)
		require.Contains(t, again.stderr.String(), "already exists")

		play := command(t, dir, "replay -json "+file+" copy")
		play.ends(0)
		require.Contains(t, play.stdout.String(), `"messages":300,`)
		require.Contains(t, play.stdout.String(), `"recorded":"-count"`)
		c, err := shmring.OpenConsumer(t.Context(), "copy", &shmring.Options{Dir: dir})
		require.NoError(t, err)
		require.Equal(t, kind, c.Info().Kind)
		for i, msg := range want {
			m, err := c.Next(t.Context())
			require.NoError(t, err)
			require.True(t, bytes.Equal(msg, m.Bytes()), i)
			require.Equal(t, kinds[i], m.Kind())
			m.Release()
		}
		_, err = c.Next(t.Context())
		require.Equal(t, io.EOF, err)
		require.NoError(t, c.Close())
		files, err := filepath.Glob(file + "*")
		require.NoError(t, err)
		require.Len(t, files, sum.Rotated+1)
		for _, f := range files {
			require.NoError(t, os.Remove(f))
		}
	}
}

// A recording that ends in the middle of a message is sent as far as it goes; one that is damaged is an error behind
// all that is sound.
func TestReplayOfWhatIsNotWhole(t *testing.T) {
	dir := ringDir(t)
	file := filepath.Join(dir, "rec")
	p := sender(t, &shmring.Options{Dir: dir})
	for _, msg := range []string{"one", "two", "three"} {
		require.NoError(t, p.TrySend([]byte(msg)))
	}
	command(t, dir, "record -from oldest -count 3 r "+file).ends(0)
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	at := bytes.Index(whole, []byte("three"))
	for _, c := range []struct {
		bytes   []byte
		code    int
		says    string
		ends    error
		content string
	}{
		{whole[:at+2], 0, "bytes of a message that is not whole were left out; whoever recorded it was killed", io.EOF,
			"one two "},
		{bytes.Replace(whole, []byte("two"), []byte("tvo"), 1), 4, "damaged at byte", shmring.ErrFailed, "one "},
		{whole[:5], 1, "no recording", nil, ""},
	} {
		require.NoError(t, os.WriteFile(file, c.bytes, 0o600))
		play := command(t, dir, "replay "+file+" copy")
		play.ends(c.code)
		require.Contains(t, play.stderr.String()+play.stdout.String(), c.says)
		if c.ends == nil {
			continue
		}
		r, err := shmring.OpenConsumer(t.Context(), "copy", &shmring.Options{Dir: dir})
		require.NoError(t, err)
		content := ""
		for err == nil {
			var m shmring.Message
			if m, err = r.Next(t.Context()); err == nil {
				content += string(m.Bytes()) + " "
				m.Release()
			}
		}
		require.ErrorIs(t, err, c.ends)
		require.Equal(t, c.content, content)
		require.NoError(t, r.Close())
		require.NoError(t, shmring.Remove(t.Context(), "copy", &shmring.AdminOptions{Dir: dir}))
	}
	require.NoError(t, os.Remove(file))
}

// The pauses of a recording are those of its replay.
func TestReplayKeepsPauses(t *testing.T) {
	dir := ringDir(t)
	file := filepath.Join(dir, "rec")
	w, err := recording.Create(file, recording.Header{Ring: "r", Kind: "spsc", Slots: 64, SlotSize: 64, MaxMessage: 64},
		recording.Limits{})
	require.NoError(t, err)
	begin := time.Unix(1000, 0)
	for i := range 3 {
		require.NoError(t, w.Write(recording.Entry{Time: begin.Add(time.Duration(i) * time.Second), Bytes: []byte("x")}))
	}
	require.NoError(t, w.Close(recording.End{Time: begin, Reason: "x"}))
	play := command(t, dir, "replay -json -speed 10 "+file+" copy")
	play.ends(0)
	var got struct{ Seconds float64 }
	require.NoError(t, json.Unmarshal([]byte(play.stdout.String()), &got))
	require.GreaterOrEqual(t, got.Seconds, 0.2)
	slow := command(t, dir, "replay -json -speed recorded "+file+" copy")
	eventually(t, "begin", func() bool {
		peers, err := shmring.Peers(t.Context(), "copy", &shmring.AdminOptions{Dir: dir})
		return err == nil && len(peers) > 0
	})
	slow.signal(unix.SIGINT)
	slow.ends(0)
	require.Contains(t, slow.stdout.String(), `"end":"signal"`)
	require.NoError(t, os.Remove(file))
}

func TestReplayIntoAFullRing(t *testing.T) {
	dir := ringDir(t)
	file := filepath.Join(dir, "rec")
	w, err := recording.Create(file, recording.Header{Ring: "r", Kind: "spsc", Slots: 8, SlotSize: 64, MaxMessage: 64},
		recording.Limits{})
	require.NoError(t, err)
	for range 5000 {
		require.NoError(t, w.Write(recording.Entry{Bytes: make([]byte, 64)}))
	}
	require.NoError(t, w.Close(recording.End{}))
	full := command(t, dir, "replay -timeout 10ms "+file+" copy")
	full.ends(5)
	require.Contains(t, full.stderr.String(), "is a consumer running")
	producer(t, dir, "-max-message 10", stdin(strings.NewReader(""))).ends(0)
	small := command(t, dir, "replay "+file+" r")
	small.ends(1)
	require.Contains(t, small.stderr.String(), "larger -max-message")
	held := sender(t, &shmring.Options{Dir: dir})
	command(t, dir, "replay "+file+" r").ends(7)
	require.NoError(t, held.Close())
	require.NoError(t, os.Remove(file))
}

var recordKills = flag.Int("record-kills", 10, "how often record is killed")

// Whenever record is killed, what it has written can be read to its last whole message, and the next one goes on so
// that every message is there or counted.
func TestRecordIsKilled(t *testing.T) {
	dir := ringDir(t)
	file := filepath.Join(dir, "rec")
	producer(t, dir, "-generate 0 -size 0-300 -rate 100000 -slots 8192")
	consumer(t, dir, "", stdout(io.Discard))
	watch(t, dir).hasConsumer()
	torn, messages, rounds := 0, 0, *recordKills
	for range rounds {
		p := command(t, dir, "record -append -from oldest -rotate-size 256K -keep 4 r "+file)
		time.Sleep(rand.N(120 * time.Millisecond)) // when it dies is up to chance
		p.kill()
		rec, err := recording.Open(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it had not begun
		}
		require.NoError(t, err)
		var next uint64
		for messages = 0; ; messages++ {
			e, err := rec.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			if next > 0 {
				require.Equal(t, next+e.Missed, e.Sequence, "neither there nor counted")
			}
			next = e.Sequence + 1
		}
		if rec.Torn() > 0 {
			torn++
		}
	}
	t.Logf("%d kills, %d torn files, %d messages in the files at the end", rounds, torn, messages)
	require.Positive(t, messages)
	sound := command(t, dir, "record -append -count 10 r "+file)
	sound.ends(0)
	play := command(t, dir, "replay -count 10 "+file+" copy")
	play.ends(0)
	files, err := filepath.Glob(file + "*")
	require.NoError(t, err)
	for _, f := range files {
		require.NoError(t, os.Remove(f))
	}
}

// countRecorded is how many messages a recording has, all of them whole.
func countRecorded(t *testing.T, file string) (n int) {
	r, err := recording.Open(file)
	require.NoError(t, err)
	for ; ; n++ {
		if _, err := r.Next(); err == io.EOF {
			break
		}
		require.NoError(t, err)
	}
	require.Zero(t, r.Torn())
	return n
}

// When the disk takes no more, what is recorded is whole, and the rest is told.
func TestRecordOnAFullDisk(t *testing.T) {
	dir := ringDir(t)
	file := filepath.Join(dir, "rec")
	p := sender(t, &shmring.Options{Dir: dir})
	rec := command(t, dir, "record -json r "+file)
	eventually(t, "file", func() bool { _, err := os.Stat(file); return err == nil })
	limit := &unix.Rlimit{Cur: 10000, Max: 10000}
	require.NoError(t, unix.Prlimit(rec.cmd.Process.Pid, unix.RLIMIT_FSIZE, limit, nil))
	for range 200 {
		require.NoError(t, p.TrySend(make([]byte, 100)))
	}
	rec.ends(1)
	require.Contains(t, rec.stderr.String(), "messages are not recorded")
	var sum struct{ Messages int }
	require.NoError(t, json.Unmarshal([]byte(rec.stdout.String()), &sum))
	n := countRecorded(t, file)
	require.Equal(t, sum.Messages, n)
	require.Positive(t, n)
	require.NoError(t, os.Remove(file))
}

// inSmallTmpfs runs a program with a file system of 64 KiB at dir, which nobody else sees, and copies what is in there
// to another directory when it has ended.
func inSmallTmpfs(dir, to string) setup {
	return func(c *exec.Cmd) {
		script := `mount -t tmpfs -o size=64k none ` + dir + ` || exit 99; "$0" "$@"; code=$?; cp ` + dir + `/* ` + to +
			`; exit $code`
		c.Path, c.Args = "/bin/sh", append([]string{"sh", "-c", script}, c.Args...)
		c.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
}

// Likewise a file system that is full, also where that is met between two files: what is there is whole, as many
// messages as it says, and the error names the file. Only root can mount one; TestRecordOnAFullDisk is for all.
func TestRecordOnAFullFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	for _, rotate := range []string{"", "-rotate-size 9000 ", "-rotate-size 16384 "} {
		dir, small, to := ringDir(t), t.TempDir(), t.TempDir()
		p := sender(t, &shmring.Options{Dir: dir, Kind: shmring.KindMPSC, Slots: 4096})
		for range 2000 {
			require.NoError(t, p.TrySend(make([]byte, 100)))
		}
		rec := start(t, dir, "shmring", strings.Fields("record -json -for 20s -from oldest "+rotate+"r "+small+"/rec"),
			inSmallTmpfs(small, to))
		rec.ends(1)
		if strings.Contains(rec.stderr.String(), "mount: ") {
			t.Skip(rec.stderr.String())
		}
		require.Regexp(t, `^shmring record: \S+ `+small+`/rec(\.new)?: no space left on device: the last \d+ messages `+
			`are not recorded\n$`, rec.stderr.String())
		var sum struct{ Messages, Bytes, Rotated int }
		require.NoError(t, json.Unmarshal([]byte(rec.stdout.String()), &sum))
		require.Equal(t, rotate != "", sum.Rotated > 1)
		n := countRecorded(t, to+"/rec")
		require.Equal(t, sum.Messages, n)
		require.Equal(t, 100*n, sum.Bytes)
		require.Greater(t, n, 300)
	}
}

// Whoever reads what a command prints may go when it has seen enough: the command ends then, without a word.
func TestReaderOfACommandHasGone(t *testing.T) {
	for _, args := range []string{"tap r", "tap -json r", "tap -hex r", "hz -every 1ms r", "inspect -watch -for 1ms r",
		"inspect -for 0 r", "ls", "events r", "doctor"} {
		t.Run(args, func(t *testing.T) {
			dir := ringDir(t)
			p := sender(t, &shmring.Options{Dir: dir, Kind: shmring.KindBroadcast})
			r, w, err := os.Pipe()
			require.NoError(t, err)
			require.NoError(t, r.Close())
			q := start(t, dir, "shmring", strings.Fields(args), stdout(w))
			require.NoError(t, w.Close())
			eventually(t, args, func() bool {
				require.NoError(t, p.TrySend([]byte("x")))
				select {
				case <-q.ended:
					return true
				default:
					return false
				}
			})
			q.ends(cli.Failed)
			require.Empty(t, q.stderr.String())
		})
	}
}

func TestUsageOfThoseWhoObserve(t *testing.T) {
	dir := ringDir(t)
	for args, want := range map[string]string{
		"tap":                                  "0 arguments, want 1",
		"tap -from then r":                     "want now, oldest or a position",
		"tap -kind 70000 r":                    "want numbers from 0 to 65535",
		"tap -count -1 r":                      "want 1 or more",
		"tap -for -1s r":                       "want a positive duration",
		"tap -hex -json r":                     "give one",
		"hz -every 0s r":                       "want a positive duration",
		"hz -count -1 r":                       "want 1 or more",
		"record r":                             "1 arguments, want 2",
		"record -keep 3 r f":                   "and -rotate-size",
		"record -rotate-size 0 r f":            "want 1 or more bytes",
		"replay f":                             "1 arguments, want 2",
		"replay -speed fast f r":               "want full, recorded or a factor",
		"replay -speed 0 f r":                  "want full, recorded or a factor",
		"replay -count -1 f r":                 "want 1 or more",
		"replay -timeout -1s f r":              "want a positive duration",
		"record -rotate-size 1M -keep -1 r f ": "want 1 or more",
	} {
		p := command(t, dir, args)
		p.ends(2)
		require.Contains(t, p.stderr.String(), want, args)
	}
	for _, verb := range []string{"tap", "hz", "record", "replay", "force-skip"} {
		help := command(t, dir, verb+" -help")
		help.ends(0)
		require.Contains(t, help.stdout.String(), "Examples\n  shmring "+verb+" ")
	}
}
