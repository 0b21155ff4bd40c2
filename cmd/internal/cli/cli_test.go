package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
)

func TestExitCodes(t *testing.T) {
	timeout := &shmring.ContextError{Op: "send", Err: context.Canceled, Cause: ErrTimeout}
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{os.ErrNotExist, 1},
		{Usagef("x"), 2},
		{fmt.Errorf("wrapped: %w", Usagef("x")), 2},
		{&shmring.StreamError{StreamEnd: shmring.StreamEnd{Fate: shmring.FateDied}}, 3},
		{&shmring.StreamError{StreamEnd: shmring.StreamEnd{Fate: shmring.FateFailed}}, 8},
		{&shmring.CorruptError{}, 4},
		{fmt.Errorf("%w: 3 lost", ErrVerify), 4},
		{timeout, 5},
		{&shmring.ContextError{Op: "open", Err: context.DeadlineExceeded}, 5},
		{errors.Join(errors.New("x"), shmring.ErrFull), 6},
		{&shmring.BusyError{}, 7},
	} {
		require.Equal(t, c.want, Code(c.err), "%v", c.err)
	}
}

func TestErrorsTakeOneLine(t *testing.T) {
	err := errors.Join(shmring.ErrFull, errors.New("b\nc"))
	require.Equal(t, "ring is full; b; c", Oneline(err))
}

func TestBytesFlag(t *testing.T) {
	for text, want := range map[string]int{"0": 0, "4096": 4096, "64K": 64 << 10, "3M": 3 << 20, "1G": 1 << 30} {
		var n int
		f := NewFlags("x", "", "")
		f.Bytes(&n, "n")
		_, err := parse(f, []string{"-n", text})
		require.NoError(t, err)
		require.Equal(t, want, n, text)
	}
	for _, text := range []string{"", "K", "-1", "1k", "1KK", "1KB", "1.5M", "99999999999"} {
		var n int
		f := NewFlags("x", "", "")
		f.Bytes(&n, "n")
		_, err := parse(f, []string{"-n", text})
		require.ErrorContains(t, err, "want a number of bytes like 4096, 64K or 1M", text)
		require.Equal(t, Usage, Code(err))
	}
}

func TestValuesSayWhatIsWanted(t *testing.T) {
	var n int
	var x float64
	var b bool
	var d time.Duration
	f := NewFlags("x", "", "")
	Int(f, &n, "n")
	f.Float(&x, "x")
	f.Bool(&b, "b")
	f.Duration(&d, "d")
	for args, want := range map[string]string{
		"-n 1e9":                 "want a whole number, in digits, like 8192",
		"-n 9999999999999999999": "want a whole number",
		"-x fast":                "want a number like 1000 or 0.5",
		"-x NaN":                 "want a number",
		"-b=maybe":               "want true or false",
		"-d 5":                   "want a number with a unit, like 5s, 200ms or 50us",
		"-y 5":                   "flag provided but not defined: -y: x -help lists the flags",
	} {
		_, err := parse(f, strings.Fields(args))
		require.ErrorContains(t, err, want, args)
		require.Equal(t, Usage, Code(err), args)
	}
	operands, err := parse(f, strings.Fields("-n -5 one --x=0.5 two -b -- -d"))
	require.NoError(t, err)
	require.Equal(t, []string{"one", "two", "-d"}, operands)
	require.Equal(t, []any{-5, 0.5, true}, []any{n, x, b})
	require.True(t, f.IsSet("n"))
}

func TestFlagsOfWaiting(t *testing.T) {
	ms := time.Millisecond
	for args, want := range map[string]shmring.Options{
		"":                              {},
		"-doorbell auto":                {},
		"-doorbell futex":               {Doorbell: shmring.DoorbellFutex},
		"-doorbell sysv -wait sleep":    {Doorbell: shmring.DoorbellSysV, WaitPolicy: shmring.WaitSleep},
		"-doorbell poll -max-sleep 1ms": {Doorbell: shmring.DoorbellPoll, MaxSleep: ms},
		"-wait balanced -spin-for 50us": {SpinFor: 50 * time.Microsecond},
		"-wait spin -max-sleep 20ms":    {WaitPolicy: shmring.WaitSpin, MaxSleep: 20 * ms},
	} {
		got, err := parseRing(args)
		require.NoError(t, err, args)
		require.Equal(t, want, got, args)
	}
	for args, want := range map[string]string{
		"-doorbell long":                    "want auto, futex, sysv or poll",
		"-doorbell":                         "flag needs an argument",
		"-wait eager":                       "want balanced, sleep, spin or park",
		"-wait sleep -spin-for 5us":         "-spin-for is for -wait balanced",
		"-spin-for 0s":                      "-spin-for 0s: want a positive duration like 50us; -wait sleep does not spin",
		"-spin-for 50":                      "-spin-for",
		"-max-sleep 999us":                  "-max-sleep 999µs: want 1ms or more",
		"-max-sleep -5s -doorbell futex":    "-max-sleep -5s: want 1ms or more",
		"-doorbell futex -doorbell nothing": "want auto, futex, sysv or poll",
		"-wait balanced -spin-for -1s":      "-spin-for -1s: want a positive duration",
	} {
		_, err := parseRing(args)
		require.ErrorContains(t, err, want, args)
		require.Equal(t, Usage, Code(err), args)
	}
}

// parse returns the operands, or the usage error.
func parse(f *Flags, args []string) (operands []string, err error) {
	Execute(context.Background(), f.Command(func(_ context.Context, got []string, usage error) int {
		operands, err = got, usage
		return OK
	}), args, io.Discard, io.Discard)
	return operands, err
}

func parseRing(args string) (shmring.Options, error) {
	var r Ring
	f := NewFlags("x", "", "")
	r.Register(f)
	_, err := parse(f, append([]string{"-ring", "r"}, strings.Fields(args)...))
	if err == nil {
		err = r.Check(f)
	}
	return r.Options, err
}

// What is asked for on the command line is what a ring's header then says.
func TestWordsForDoorbellsAreThoseOfTheLayout(t *testing.T) {
	words := map[string]bool{}
	for _, w := range Doorbells {
		words[w.Word] = true
	}
	for bell := layout.Futex; words[bell.String()]; bell++ {
		delete(words, bell.String())
	}
	require.Empty(t, words)
}

func TestPatienceEndsOneWaitAndNotTheNext(t *testing.T) {
	p := NewPatience(context.Background(), 10*time.Millisecond)
	defer p.Close()
	first := p.Begin()
	<-first.Done()
	require.Equal(t, ErrTimeout, context.Cause(first))
	p.End()

	p.limit = time.Hour
	second := p.Begin()
	require.NoError(t, second.Err())
	p.End()
	require.Equal(t, second, p.Begin(), "a context that was not used up serves again")
	p.End()
	require.NoError(t, second.Err())
}

func TestPatienceWithoutLimitIsItsParent(t *testing.T) {
	ctx := context.WithValue(context.Background(), t, "v")
	p := NewPatience(ctx, 0)
	require.Equal(t, ctx, p.Begin())
	p.End()
	p.Close()
}

func TestGraceEndsLater(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	late, done := Grace(ctx, 20*time.Millisecond)
	defer done()
	begin := time.Now()
	cancel(ErrInterrupted)
	select {
	case <-late.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("grace never ended")
	}
	require.GreaterOrEqual(t, time.Since(begin), 20*time.Millisecond)
	require.Equal(t, ErrInterrupted, context.Cause(late))
}

func TestDrainWaitsAfterSIGTERMOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for cause, want := range map[error]time.Duration{ErrTerminated: time.Minute, ErrInterrupted: 0} {
			ctx, cancel := context.WithCancelCause(t.Context())
			late, done := Drain(ctx, time.Minute)
			begin := time.Now()
			cancel(cause)
			<-late.Done()
			require.Equal(t, want, time.Since(begin))
			require.Equal(t, cause, context.Cause(late))
			require.ErrorIs(t, cause, ErrInterrupted)
			done()
		}
	})
}

func TestSummaryNamesOnlyWhatHappened(t *testing.T) {
	totals := Totals{Messages: 1000, Bytes: 64000}
	totals.Took(2 * time.Second)
	require.Equal(t, "1000 messages, 64 kB in 2s (500 messages/s, 32 kB/s)", totals.String())
	totals.Dropped, totals.Deaths = 7, 1
	require.Contains(t, totals.String(), "7 dropped, 1 producers died")
	require.Equal(t, "0 messages, 0 B in 0s (0 messages/s, 0 B/s)", (&Totals{}).String())
}

func TestFinish(t *testing.T) {
	var w bytes.Buffer
	o := Out{Name: "producer", W: &w}
	require.Equal(t, 6, o.Finish(&Totals{opened: true}, fmt.Errorf("%w: make room", shmring.ErrFull)))
	lines := strings.Split(strings.TrimSpace(w.String()), "\n")
	require.Len(t, lines, 2)
	require.Equal(t, "producer: ring is full: make room", lines[1])

	w.Reset()
	o.Finish(&Totals{}, errors.New("no ring"))
	require.Equal(t, "producer: no ring\n", w.String(), "there is nothing to sum up")

	w.Reset()
	o.Quiet = true
	require.Equal(t, 0, o.Finish(&Totals{}, nil))
	require.Empty(t, w.String())
	o.Finish(&Totals{}, errors.New("bad"))
	require.Equal(t, "producer: bad\n", w.String(), "quiet is not silent about errors")

	w.Reset()
	o.JSON = true
	o.Notice("something")
	require.Equal(t, 1, o.Finish(&Totals{Messages: 3}, errors.New("bad")))
	var got map[string]any
	require.NoError(t, json.Unmarshal(w.Bytes(), &got), "nothing but one object")
	require.EqualValues(t, 3, got["messages"])
	require.Equal(t, "bad", got["error"])
	require.EqualValues(t, 1, got["exit_code"])
}

func TestShort(t *testing.T) {
	for n, want := range map[float64]string{
		0: "0", 999: "999", 1000: "1 k", 12345: "12.35 k", 4.5e6: "4.5 M", 2e12: "2000 G",
	} {
		require.Equal(t, want, Short(n))
	}
	require.Equal(t, "17 B", Size(17))
	require.Equal(t, "1.5 MB", Size(1.5e6))
}

func TestNanos(t *testing.T) {
	for n, want := range map[int64]string{
		221: "221ns", 1943: "1.943µs", 30123: "30.1µs", 1292345: "1.292ms", 47912345: "47.9ms",
	} {
		require.Equal(t, want, Nanos(n))
	}
}

func TestTotalsTellOfWaiting(t *testing.T) {
	var totals Totals
	totals.Counted(shmring.Stats{Sleeps: 3, Wakes: 4, Spins: 5, Asleep: 1500 * time.Millisecond})
	b, err := json.Marshal(totals)
	require.NoError(t, err)
	require.Contains(t, string(b), `"sleeps":3,"wakes":4,"spins":5,"asleep_seconds":1.5,`)
}

func TestVersionNamesTheProgramAndTheCompiler(t *testing.T) {
	require.Regexp(t, `^producer .*go1\.`, Version("producer"))
}
