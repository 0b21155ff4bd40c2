package shmring_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/layout"
)

// hold is a child that takes a message, and neither releases it nor comes back.
func hold(ctx context.Context, dir string) error {
	c, err := shmring.OpenConsumer(ctx, "r", &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOnly})
	if err != nil {
		return err
	}
	if _, err := c.Next(ctx); err != nil {
		return err
	}
	fmt.Println("holding")
	<-ctx.Done()
	return c.Close()
}

// inspect is a child that looks twice and tells what it saw.
func inspect(ctx context.Context, dir string) error {
	s, err := shmring.Inspect(ctx, "r", &shmring.InspectOptions{Dir: dir, Watch: time.Millisecond})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

// glance looks at the ring once, and twice where watch is not 0.
func glance(t *testing.T, dir string, watch time.Duration) shmring.Snapshot {
	t.Helper()
	s, err := shmring.Inspect(soon(t), "r", &shmring.InspectOptions{Dir: dir, Watch: watch})
	require.NoError(t, err)
	require.NotEmpty(t, s.Verdicts)
	for _, v := range s.Verdicts {
		require.NotEmpty(t, v.Text)
		require.NotEmpty(t, v.Next)
	}
	text, err := json.Marshal(s)
	require.NoError(t, err)
	var again shmring.Snapshot
	require.NoError(t, json.Unmarshal(text, &again))
	require.Equal(t, s.Verdicts, again.Verdicts)
	return s
}

// requireVerdict makes sure that the worst that is said is that, with all these words in it.
func requireVerdict(t *testing.T, s shmring.Snapshot, severity shmring.Severity, code shmring.VerdictCode,
	words ...string) {
	t.Helper()
	require.Equal(t, code, s.Verdicts[0].Code, "%+v", s.Verdicts)
	require.Equal(t, severity, s.Verdicts[0].Severity, "%+v", s.Verdicts)
	next := s.Verdicts[0].Next
	if strings.Contains(next, "shmring ") { // each command says where the ring is
		require.Equal(t, strings.Count(next, "shmring "), strings.Count(next, " -dir "+filepath.Dir(s.Path)+" "), next)
		next = strings.ReplaceAll(next, " -dir "+filepath.Dir(s.Path), "")
	}
	for _, w := range words {
		require.Contains(t, s.Verdicts[0].Text+" | "+next, w)
	}
}

// What is proposed can be copied: it says where the ring is, unless the command looks there by itself.
func TestVerdictsNameCommandsToCopy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's here")
	require.NoError(t, os.Mkdir(dir, 0o700))
	o := &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOrCreate, Slots: 16, Doorbell: shmring.DoorbellFutex}
	p := openProducer(t, o)
	require.NoError(t, p.Close())
	c := openConsumer(t, o) // is told of the end
	_, err := c.TryReceive(nil)
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, c.Close())
	quoted := "'" + strings.ReplaceAll(dir, "'", `'\''`) + "'"
	require.Equal(t, "open it to go on, or shmring remove -dir "+quoted+" r", glance(t, dir, 0).Verdicts[0].Next)
	s, err := shmring.InspectFile(soon(t), filepath.Join(dir, "r.shmring"), nil)
	require.NoError(t, err)
	require.Equal(t, "open it to go on, or shmring remove -dir "+quoted+" r", s.Verdicts[0].Next)
	t.Setenv(shmring.EnvDir, dir)
	require.Equal(t, "open it to go on, or shmring remove r", glance(t, "", 0).Verdicts[0].Next)
}

func hasVerdict(s shmring.Snapshot, code shmring.VerdictCode) bool {
	return slices.ContainsFunc(s.Verdicts, func(v shmring.Verdict) bool { return v.Code == code })
}

// manyProducers are the options of a ring for so many.
func manyProducers(t *testing.T, n int) shmring.Options {
	return shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 16, MaxProducers: n,
		Mode: shmring.ModeOpenOrCreate}
}

const briefly = 5 * time.Millisecond

// What is said of a ring while people come and go who know how to behave.
func TestInspectRingsThatAreWell(t *testing.T) {
	bothLocks(t, func(t *testing.T) {
		kinds(t, func(t *testing.T, o shmring.Options) {
			o.Slots, o.SlotSize, o.MaxMessage = 16, 256, 1000
			o.KeepStream, o.Mode = true, shmring.ModeOpenOrCreate
			_, err := shmring.Inspect(soon(t), "r", &shmring.InspectOptions{Dir: o.Dir})
			require.ErrorIs(t, err, fs.ErrNotExist)
			p := openProducer(t, &o)
			requireVerdict(t, glance(t, o.Dir, 0), "warning", shmring.VerdictNoConsumer, "1 producer", "0 messages",
				"start a consumer")
			require.NoError(t, p.Close())
			requireVerdict(t, glance(t, o.Dir, 0), "note", shmring.VerdictUnused, "shmring remove r")

			p = openProducer(t, &o)
			for range 12 { // on either kind of ring a slot's worth
				require.NoError(t, p.TrySend(make([]byte, 248)))
			}
			require.NoError(t, p.Close())
			s := glance(t, o.Dir, 0)
			requireVerdict(t, s, "warning", shmring.VerdictUnattended, "nobody attached; 12 messages | open it to go on")
			require.EqualValues(t, 12*248, s.Ring.Queue.Bytes)
			require.Equal(t, 12, s.Ring.Queue.Slots)
			require.Zero(t, s.Ring.Queue.Oldest)
			require.True(t, s.Ring.Queue.Exact)

			c := openConsumer(t, &o)
			requireVerdict(t, glance(t, o.Dir, 0), "note", shmring.VerdictNoProducer, "12 messages",
				fmt.Sprint("pid ", os.Getpid()))
			p = openProducer(t, &o)
			s = glance(t, o.Dir, 0)
			requireVerdict(t, s, "ok", shmring.VerdictHealthy, "75 % full")
			require.Zero(t, s.Watched)
			require.Equal(t, []int{os.Getpid()}, s.File.Attached)
			require.Len(t, s.Ring.Peers, 2)
			for _, peer := range s.Ring.Peers {
				require.Equal(t, shmring.LifeAlive, peer.Life)
				require.Equal(t, shmring.ProcessThere, peer.Process)
				require.Equal(t, os.Getpid(), peer.PID)
			}
			info := p.Info()
			require.Equal(t, fmt.Sprintf("%x", info.UUID), s.File.UUID)
			require.Equal(t, info.Size, s.File.Size)
			require.Equal(t, info.Locks, s.Ring.Locks)
			require.Equal(t, info.Doorbell.String(), s.Ring.Doorbell)
			require.Equal(t, shmring.Geometry{info.Slots, info.SlotSize, info.MaxMessage, info.MaxProducers}, s.Ring.Geometry)
			require.Equal(t, "0600", s.File.Mode)
			require.Equal(t, "4.0", s.File.Version)
			require.WithinDuration(t, time.Now(), s.File.Created, time.Minute)

			m, err := c.Next(soon(t))
			require.NoError(t, err)
			m.Release()
			require.NoError(t, c.Check())
			s = glance(t, o.Dir, 0)
			require.EqualValues(t, 11, s.Ring.Queue.Messages)
			behind := shmring.Position{Record: 1}
			if o.Kind == shmring.KindSPSC {
				behind.Record = 256 // bytes
			}
			require.Equal(t, behind, s.Ring.Queue.Oldest)
		})
	})
}

// Messages of batches, long ones and padding are told apart; what somebody may have seen is known.
func TestInspectCountsMessages(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots, o.SlotSize, o.Mode = 16, 64, shmring.ModeOpenOrCreate
		p, c := openProducer(t, &o), openConsumer(t, &o)
		for range 6 {
			require.NoError(t, p.TrySend(make([]byte, 100)))
		}
		_, err := p.TrySendBatch([][]byte{make([]byte, 7), nil, make([]byte, 50)})
		require.NoError(t, err)
		s := glance(t, o.Dir, 0)
		require.EqualValues(t, 9, s.Ring.Queue.Messages)
		require.EqualValues(t, 657, s.Ring.Queue.Bytes)
		require.Zero(t, s.Ring.Queue.Redelivered)
		for range 4 {
			m, err := c.Next(soon(t))
			require.NoError(t, err)
			m.Release()
		}
		require.NoError(t, c.Check())                    // which stores what was released
		require.NoError(t, p.TrySend(make([]byte, 130))) // behind padding, of slots
		s = glance(t, o.Dir, 0)
		require.EqualValues(t, 6, s.Ring.Queue.Messages)
		require.EqualValues(t, 387, s.Ring.Queue.Bytes)
		if o.Kind == shmring.KindMPSC {
			require.Zero(t, s.Ring.Queue.Redelivered) // on the other the mark runs ahead by more than these
			require.Equal(t, shmring.Position{Record: 8}, s.Ring.Queue.Oldest)
			require.Equal(t, s.Ring.Queue.Slots, int(s.Ring.Queue.End.Record-8))
		} else {
			require.Equal(t, shmring.Position{Record: 4 * 112}, s.Ring.Queue.Oldest)
			require.Positive(t, s.Ring.Queue.Slots)
		}
		_, err = c.Next(soon(t))
		require.NoError(t, err)
		require.Positive(t, glance(t, o.Dir, 0).Ring.Queue.Redelivered, "it was shown")
	})
}

// A ring that is full: of a consumer that is alive nothing bad is said before it was watched.
func TestInspectFull(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots, o.Mode = 16, shmring.ModeOpenOrCreate
		p := openProducer(t, &o)
		sent := 0
		for p.TrySend([]byte("x")) == nil {
			sent++
		}
		requireVerdict(t, glance(t, o.Dir, 0), "problem", shmring.VerdictNoConsumer, fmt.Sprint(sent, " messages"),
			"100 % full")
		c := openConsumer(t, &o)
		requireVerdict(t, glance(t, o.Dir, 0), "warning", shmring.VerdictFull, "ring 100 % full")
		s := glance(t, o.Dir, briefly)
		requireVerdict(t, s, "problem", shmring.VerdictStalledConsumer, "alive, has not released for", "ring 100 % full",
			fmt.Sprint("pid ", os.Getpid()))
		require.GreaterOrEqual(t, s.Watched, briefly)
		require.GreaterOrEqual(t, s.Ring.Queue.StillFor, briefly)

		in, err := shmring.NewInspector("r", &shmring.InspectOptions{Dir: o.Dir})
		require.NoError(t, err)
		look := func() shmring.Snapshot {
			s, err := in.Look()
			require.NoError(t, err)
			return s
		}
		requireVerdict(t, look(), "warning", shmring.VerdictFull)
		requireVerdict(t, look(), "problem", shmring.VerdictStalledConsumer)
		m, err := c.Next(soon(t))
		require.NoError(t, err)
		m.Release()
		require.NoError(t, c.Check())
		require.NoError(t, p.TrySend([]byte("x")))
		moved := map[shmring.Kind]string{shmring.KindSPSC: "released 16 bytes in", shmring.KindMPSC: "released 1 slot in"}
		requireVerdict(t, look(), "warning", shmring.VerdictFull, moved[o.Kind], "shmring resize r")
		requireVerdict(t, look(), "problem", shmring.VerdictStalledConsumer)
		require.NoError(t, c.Close())
		requireVerdict(t, look(), "problem", shmring.VerdictNoConsumer)
		openConsumer(t, &o)
		requireVerdict(t, look(), "warning", shmring.VerdictFull)
	})
}

// A consumer that is stopped by a signal is alive, and one look shows it.
func TestInspectStoppedConsumer(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots, o.Mode = 16, shmring.ModeOpenOrCreate
		p := openProducer(t, &o)
		require.NoError(t, p.TrySend([]byte("x")))
		cmd, told := spawn(t, o.Dir, 0, 0, "hold")
		require.True(t, told.Scan())
		s := glance(t, o.Dir, briefly)
		require.GreaterOrEqual(t, s.Ring.Queue.StillFor, briefly)
		s.Ring.Queue.StillFor = 900 * time.Millisecond
		s.Judge()
		requireVerdict(t, s, "ok", shmring.VerdictHealthy)
		require.True(t, hasVerdict(s, shmring.VerdictStalledConsumer), "as a note: it may be busy")
		s.Ring.Queue.StillFor = 4200 * time.Millisecond
		s.Judge()
		requireVerdict(t, s, "warning", shmring.VerdictStalledConsumer, "alive, has not released for 4.2 s; 1 message, ")
		stop(t, cmd.Process)
		requireVerdict(t, glance(t, o.Dir, 0), "problem", shmring.VerdictStalledConsumer,
			fmt.Sprintf("pid %d is stopped", cmd.Process.Pid), fmt.Sprintf("kill -CONT %d", cmd.Process.Pid))
	})
}

// A consumer that was killed: that is known before anybody has found it.
func TestInspectDeadConsumer(t *testing.T) {
	bothLocks(t, func(t *testing.T) {
		kinds(t, func(t *testing.T, o shmring.Options) {
			o.Mode = shmring.ModeOpenOrCreate
			p := openProducer(t, &o)
			require.NoError(t, p.TrySend([]byte("x")))
			cmd, told := spawn(t, o.Dir, 0, 0, "hold")
			require.True(t, told.Scan())
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
			requireVerdict(t, glance(t, o.Dir, 0), "problem", shmring.VerdictDeadConsumer,
				fmt.Sprintf("consumer (pid %d) has died", cmd.Process.Pid), "1 message", "start a consumer", "1 again")
		})
	})
}

// A producer that was killed, whose consumer lives; and the same where all are dead.
func TestInspectDeadProducerAndStaleRing(t *testing.T) {
	bothLocks(t, func(t *testing.T) {
		kinds(t, func(t *testing.T, o shmring.Options) {
			o.Mode = shmring.ModeOpenOrCreate
			c := openConsumer(t, &o)
			cmd, told := spawn(t, o.Dir, 0, 3, "stop")
			require.True(t, told.Scan())
			require.NoError(t, cmd.Process.Kill())
			require.Error(t, cmd.Wait())
			s := glance(t, o.Dir, 0)
			require.True(t, hasVerdict(s, shmring.VerdictDeadProducer))
			require.True(t, hasVerdict(s, shmring.VerdictNoProducer))
			require.Equal(t, shmring.SeverityNote, s.Verdicts[0].Severity)
			require.NoError(t, c.Close())
			s = glance(t, o.Dir, 0)
			requireVerdict(t, s, "warning", shmring.VerdictStale, fmt.Sprintf("producer 1.1 (pid %d)", cmd.Process.Pid),
				"3 messages", "shmring recover r")
			require.Equal(t, shmring.LifeDead, s.Ring.Peers[0].Life)
			require.Equal(t, shmring.ProcessGone, s.Ring.Peers[0].Process)

			_, err := shmring.Recover(soon(t), "r", at(o.Dir))
			require.NoError(t, err)
			s = glance(t, o.Dir, 0)
			requireVerdict(t, s, "warning", shmring.VerdictUnattended, "3 messages")
			require.Len(t, s.Ring.Untold, 1)
			require.Equal(t, "died", s.Ring.Untold[0].FateName)
			require.Equal(t, cmd.Process.Pid, s.Ring.Untold[0].PID)
			require.True(t, hasVerdict(s, shmring.VerdictUntold))
		})
	})
}

// Claims that are not finished: of one who lives, one who is stopped, and one who is dead, newest
// and not, and one that was given up.
func TestInspectClaims(t *testing.T) {
	o := manyProducers(t, 3)
	p := openProducer(t, &o)
	c := openConsumer(t, &o)
	cmd, told, _ := spawnWithInput(t, o.Dir, 0, 0, "claim")
	require.True(t, told.Scan())
	pid := cmd.Process.Pid
	for _, recorded := range []bool{false, true} {
		s := glance(t, o.Dir, 0)
		requireVerdict(t, s, "ok", shmring.VerdictHealthy)
		require.True(t, hasVerdict(s, shmring.VerdictOpenClaim), "%v", recorded)
		claim := shmring.OpenClaim{Slots: 1, Producer: 2, PID: pid, PIDHere: pid, Life: "alive", Process: "there"}
		require.Equal(t, []shmring.OpenClaim{claim}, s.Ring.Claims)
		require.NoError(t, p.TrySend([]byte("behind")))
	}
	s := glance(t, o.Dir, briefly)
	require.GreaterOrEqual(t, s.Ring.Claims[0].OpenFor, briefly)
	s.Ring.Claims[0].OpenFor = 900 * time.Millisecond
	s.Judge()
	requireVerdict(t, s, "warning", shmring.VerdictStalledClaim, fmt.Sprintf("claim at 0 of pid %d open for 900 ms", pid),
		"nothing behind it", "shmring force-skip r 0")
	s.Ring.Claims[0].OpenFor = 3 * time.Second
	s.Judge()
	requireVerdict(t, s, "problem", shmring.VerdictStalledClaim, fmt.Sprintf("claim at 0 of pid %d open for 3.0 s", pid))
	require.False(t, hasVerdict(s, shmring.VerdictStalledConsumer), "it cannot pass")

	stop(t, cmd.Process)
	requireVerdict(t, glance(t, o.Dir, 0), "problem", shmring.VerdictStalledClaim, fmt.Sprintf("pid %d is stopped", pid),
		fmt.Sprintf("kill -CONT %d", pid), "shmring force-skip r 0")
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	requireVerdict(t, glance(t, o.Dir, 0), "warning", shmring.VerdictDeadClaim, fmt.Sprintf("claim at 0 of pid %d", pid),
		"the consumer passes over it")
	require.NoError(t, c.Close())
	s = glance(t, o.Dir, 0)
	require.True(t, hasVerdict(s, shmring.VerdictDeadClaim))
	require.Contains(t, fmt.Sprint(s.Verdicts), "open a consumer, which passes over it")
}

func TestInspectRevokedClaim(t *testing.T) {
	o := manyProducers(t, 3)
	c := openConsumer(t, &o)
	p := openProducer(t, &o)
	cmd, _, _ := stopped(t, &o)
	require.NoError(t, p.TrySend([]byte("behind")))
	_, err := shmring.ForceSkip(soon(t), "r", shmring.Position{}, at(o.Dir))
	require.NoError(t, err)
	m, err := c.Next(soon(t))
	require.NoError(t, err)
	m.Release()
	require.NoError(t, c.Check())
	s := glance(t, o.Dir, briefly)
	requireVerdict(t, s, "warning", shmring.VerdictRevokedClaim, "the claim at 0 of producer 2.1",
		fmt.Sprintf("kill -CONT %d", cmd.Process.Pid))
	require.False(t, hasVerdict(s, shmring.VerdictStalledConsumer), "it may not release")
}

// All producer slots are taken, by the dead.
func TestInspectNoSlot(t *testing.T) {
	o := manyProducers(t, 1)
	p := openProducer(t, &o)
	require.NoError(t, p.Close())
	cmd, _, _ := stopped(t, &o)
	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	o.Mode = shmring.ModeOpenOnly
	_, err := shmring.OpenProducer(soon(t), "r", &o)
	require.ErrorIs(t, err, shmring.ErrBusy)
	s := glance(t, o.Dir, 0)
	require.True(t, hasVerdict(s, shmring.VerdictNoSlot), "%+v", s.Verdicts)
	require.True(t, hasVerdict(s, shmring.VerdictDeadClaim))
	require.Equal(t, shmring.LifeGone, s.Ring.Peers[0].Life)
}

// What is no ring, or none that can be read. Each is a verdict, and List shows all of them.
func TestInspectWhatIsNoSuchRing(t *testing.T) {
	dir := ringDir(t)
	o := &shmring.Options{Dir: dir, Slots: 16, Doorbell: shmring.DoorbellFutex}
	p := openProducer(t, o)
	path := p.Info().Path
	require.NoError(t, p.TrySend([]byte("x")))
	require.NoError(t, p.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	put := func(name string, spoil func([]byte) []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".shmring"), spoil(slices.Clone(whole)), 0o600))
	}
	put("version", func(b []byte) []byte { b[12] = 9; return b })
	put("order", func(b []byte) []byte { slices.Reverse(b[8:12]); return b })
	put("sum", func(b []byte) []byte { b[66] ^= 1; return b })
	put("short", func(b []byte) []byte { return b[:5000] })
	put("shorter", func(b []byte) []byte { return b[:100] })
	put("text", func(b []byte) []byte { return []byte("hello\n") })
	put("empty", func(b []byte) []byte { return nil })
	put("state", func(b []byte) []byte { b[768] = 77; return b })
	put("record", func(b []byte) []byte { // its length in slots is 0
		d := layout.PackCtl(1, 0, 1, layout.Committed)
		for i := range 8 {
			b[int(b[112])+int(b[113])<<8+int(b[114])<<16+i] = byte(d >> (8 * i))
		}
		return b
	})
	require.NoError(t, os.Mkdir(filepath.Join(dir, "dir.shmring"), 0o700))
	require.NoError(t, os.Symlink("r.shmring", filepath.Join(dir, "link.shmring")))
	list, err := shmring.List(soon(t), &shmring.InspectOptions{Dir: dir})
	require.NoError(t, err)
	want := map[string]shmring.VerdictCode{
		"r": shmring.VerdictUnattended, "version": shmring.VerdictVersion, "order": shmring.VerdictVersion,
		"sum": shmring.VerdictDamaged, "short": shmring.VerdictDamaged, "shorter": shmring.VerdictDamaged,
		"text": shmring.VerdictNotARing, "empty": shmring.VerdictNotARing, "state": shmring.VerdictDamaged,
		"record": shmring.VerdictDamaged, "dir": shmring.VerdictNotARing, "link": shmring.VerdictNotARing,
	}
	require.Len(t, list, len(want))
	for _, s := range list {
		require.Equal(t, want[s.Name], s.Verdicts[0].Code, "%s: %+v", s.Name, s.Verdicts)
		require.Equal(t, s.Name == "r", s.Err == nil, s.Name)
		require.NotNil(t, s.File, s.Name)
		if s.Name == "version" {
			require.Equal(t, "9.0", s.File.Version)
			require.Equal(t, fmt.Sprintf("%x", p.Info().UUID), s.File.UUID)
			require.ErrorIs(t, s.Err, shmring.ErrVersion)
		}
		if s.Name == "state" || s.Name == "record" {
			require.NotNil(t, s.Ring, "what can be read is shown")
			require.ErrorIs(t, s.Err, shmring.ErrCorrupt)
		}
	}
	s, err := shmring.InspectFile(soon(t), filepath.Join(dir, "sum.shmring"), nil)
	require.NoError(t, err)
	requireVerdict(t, s, "problem", shmring.VerdictDamaged, "checksum")
	_, err = shmring.Inspect(soon(t), "no/name", nil)
	require.ErrorIs(t, err, fs.ErrInvalid)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = shmring.Inspect(gone, "r", &shmring.InspectOptions{Dir: dir})
	require.ErrorIs(t, err, context.Canceled)
	_, err = shmring.List(soon(t), &shmring.InspectOptions{Dir: filepath.Join(dir, "none")})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// Somebody else's ring: root sees all of it, others what the system says of a file that they may
// not read, and a ring that they may read.
func TestInspectSomebodyElsesRing(t *testing.T) {
	if os.Getuid() != 0 {
		o := &shmring.Options{Dir: ringDir(t)}
		path := openProducer(t, o).Info().Path
		require.NoError(t, os.Chmod(path, 0))
		s := glance(t, o.Dir, 0)
		requireVerdict(t, s, "problem", shmring.VerdictUnreadable, fmt.Sprint("uid ", os.Getuid()))
		return
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "shmring-test-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	p := openProducer(t, &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOrCreate})
	path := p.Info().Path
	require.NoError(t, p.TrySend([]byte("x")))
	require.Equal(t, shmring.VerdictNoConsumer, glance(t, dir, 0).Verdicts[0].Code)
	asNobody := func() (s shmring.Snapshot) {
		cmd := exec.CommandContext(soon(t), "/proc/self/exe")
		cmd.Env = append(os.Environ(), childEnv+"="+dir+" 0 0 inspect")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.NoError(t, json.Unmarshal(out, &s), "%s", out)
		return s
	}
	s := asNobody()
	requireVerdict(t, s, "problem", shmring.VerdictUnreadable, "look as uid 0 or root", "permission denied")
	require.Equal(t, "0600", s.File.Mode)
	require.Equal(t, p.Info().Size, s.File.Size)
	require.Nil(t, s.Ring)
	require.NoError(t, os.Chmod(path, 0o644))
	s = asNobody()
	requireVerdict(t, s, "warning", shmring.VerdictNoConsumer, "1 message,")
	if s.Ring.Locks == "ofd" {
		require.Equal(t, shmring.LifeAlive, s.Ring.Peers[0].Life)
	} else { // lock files are for those who may write the ring
		require.Equal(t, shmring.LifeUnknown, s.Ring.Peers[0].Life)
		require.True(t, hasVerdict(s, shmring.VerdictLifeUnknown))
	}

	require.NoError(t, os.Chown(path, nobody, nobody))
	s = glance(t, dir, 0)
	require.True(t, hasVerdict(s, shmring.VerdictOwner))
	require.Equal(t, nobody, s.File.UID)
}

// A ring whose file is shortened while it is looked at is damaged, and nothing worse.
func TestInspectSurvivesTruncation(t *testing.T) {
	for _, left := range []int64{0, 8192} { // before the header was read, and before the records were
		o := &shmring.Options{Dir: t.TempDir(), Doorbell: shmring.DoorbellFutex, Slots: 1024}
		p := openProducer(t, o)
		for p.TrySend(make([]byte, 200)) == nil {
		}
		require.NoError(t, p.Close())
		shmring.AfterLookAt(t, func() { require.NoError(t, os.Truncate(p.Info().Path, left)) })
		s := glance(t, o.Dir, 0)
		requireVerdict(t, s, "problem", shmring.VerdictDamaged, fmt.Sprintf("%d bytes are left of ", left))
		require.ErrorIs(t, s.Err, shmring.ErrTruncated)
	}
}

// allowed are the calls of an onlooker that have to do with the ring: none of them takes a lock,
// writes, or reads the file, which would wake sleepers.
var allowed = regexp.MustCompile(`openat\(.*O_RDONLY|fstat\(|newfstatat\(|lstat\(|fstatfs\(|close\(|` +
	`mmap\(NULL, \d+, PROT_READ, MAP_SHARED|fcntl\(.*F_OFD_GETLK|write\(1<|readlink`)

func TestInspectTakesNoLock(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("no strace here; ./check installs it")
	}
	if out, err := exec.Command(strace, "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %s", out)
	}
	bothLocks(t, func(t *testing.T) {
		o := &shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Mode: shmring.ModeOpenOrCreate}
		openProducer(t, o)
		openConsumer(t, o)
		exe, err := os.Executable()
		require.NoError(t, err)
		log := filepath.Join(t.TempDir(), "log")
		cmd := exec.CommandContext(soon(t), strace, "-f", "-y", "-s", "200", "-o", log, exe)
		cmd.Env = append(os.Environ(), childEnv+"="+o.Dir+" 0 0 inspect")
		out, err := cmd.Output()
		require.NoError(t, err)
		var s shmring.Snapshot
		require.NoError(t, json.Unmarshal(out, &s))
		requireVerdict(t, s, "ok", shmring.VerdictHealthy)
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		seen := 0
		for line := range strings.Lines(string(text)) {
			require.NotContains(t, line, " flock(")
			require.NotContains(t, line, "SETLK")
			require.NotContains(t, line, "F_SETLEASE")
			if strings.Contains(line, ".shmring") && !strings.Contains(line, " resumed>") { // what resumes has begun
				require.Regexp(t, allowed, line)
				seen++
			}
		}
		require.Greater(t, seen, 8, "%s", text)
	})
}

// While somebody looks all the time, a ring is removed at the first try, and resized.
func TestRemoveAndResizeWhileInspected(t *testing.T) {
	o := &shmring.Options{Dir: ringDir(t), Slots: 16, Mode: shmring.ModeOpenOrCreate}
	stopLooking := make(chan struct{})
	done := make(chan int)
	go func() {
		looks := 0
		for {
			select {
			case <-stopLooking:
				done <- looks
				return
			default:
			}
			if _, err := shmring.List(context.Background(), &shmring.InspectOptions{Dir: o.Dir}); err != nil {
				t.Error(err)
			}
			looks++
		}
	}()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		p, err := shmring.OpenProducer(soon(t), "r", o)
		require.NoError(t, err)
		require.NoError(t, p.Close())
		_, err = shmring.Resize(soon(t), "r", shmring.Geometry{Slots: 32}, at(o.Dir))
		require.NoError(t, err)
		require.NoError(t, shmring.Remove(ended, "r", at(o.Dir)), "at the first try")
	}
	close(stopLooking)
	require.Positive(t, <-done)
}

// A stream that is looked at all the time loses nothing, and nobody is called dead or stalled, or
// the ring damaged.
func TestInspectBesideAStream(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Mode, o.Slots = shmring.ModeCreateOnly, 64
		c := openConsumer(t, &o)
		const messages = 20000
		cmd, _ := spawn(t, o.Dir, 0, messages, "quietly")
		done := make(chan error)
		go func() {
			next := 0
			for m, err := range c.All(soon(t)) {
				if err != nil || len(m.Bytes()) < 8 {
					done <- fmt.Errorf("message %d: %w", next, err)
					return
				}
				next++
			}
			if next != messages {
				done <- fmt.Errorf("%d messages", next)
				return
			}
			done <- nil
		}()
		in, err := shmring.NewInspector("r", &shmring.InspectOptions{Dir: o.Dir})
		require.NoError(t, err)
		for looks := 0; ; looks++ {
			select {
			case err := <-done:
				require.NoError(t, err)
				require.Positive(t, looks)
				require.NoError(t, cmd.Wait())
				return
			default:
			}
			s, err := in.Look()
			require.NoError(t, err)
			require.NoError(t, s.Err)
			require.False(t, hasVerdict(s, shmring.VerdictDeadConsumer), "%+v", s)
			require.LessOrEqual(t, s.Ring.Queue.Slots, 64)
		}
	})
}

// The age of a claim is counted from the look that saw it first.
func TestInspectClaimsAge(t *testing.T) {
	o := manyProducers(t, 2)
	p := openProducer(t, &o)
	in, err := shmring.NewInspector("r", &shmring.InspectOptions{Dir: o.Dir})
	require.NoError(t, err)
	_, err = in.Look()
	require.NoError(t, err)
	for range 2 {
		claim, err := p.TryClaim(4)
		require.NoError(t, err)
		s, err := in.Look()
		require.NoError(t, err)
		require.Positive(t, s.Watched)
		require.Len(t, s.Ring.Claims, 1)
		require.Zero(t, s.Ring.Claims[0].OpenFor)
		first := s.Time
		s, err = in.Look()
		require.NoError(t, err)
		require.Equal(t, s.Time.Sub(first), s.Ring.Claims[0].OpenFor)
		claim.Abort()
	}
}

// A consumer in a container that is stopped: who looks from outside sees which process it is.
func TestInspectFromOutsideAContainer(t *testing.T) {
	bothLocks(t, func(t *testing.T) {
		o := shmring.Options{Dir: ringDir(t), Mode: shmring.ModeOpenOrCreate}
		p := openProducer(t, &o)
		require.NoError(t, p.TrySend([]byte("x")))
		flags := uintptr(syscall.CLONE_NEWPID)
		if os.Getuid() != 0 {
			flags |= syscall.CLONE_NEWUSER
		}
		cmd, told := spawnIn(t, &syscall.SysProcAttr{Cloneflags: flags}, o.Dir, 0, 0, "hold")
		require.True(t, told.Scan())
		stop(t, cmd.Process)
		s := glance(t, o.Dir, 0)
		requireVerdict(t, s, "problem", shmring.VerdictStalledConsumer,
			fmt.Sprintf("consumer (pid 1, here %d) alive", cmd.Process.Pid), fmt.Sprintf("kill -CONT %d", cmd.Process.Pid))
		consumer := s.Ring.Peers[0]
		require.Equal(t, shmring.ProcessStopped, consumer.Process)
		require.Equal(t, cmd.Process.Pid, consumer.PIDHere)
		require.Equal(t, 1, consumer.PID)
		require.NotEqual(t, consumer.PIDNamespace, s.Ring.Peers[1].PIDNamespace)
	})
}
