package shmring_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/shm"
)

// claim is a child that holds a claim until a line comes on stdin, and tells what
// became of it.
func claim(ctx context.Context, dir string) error {
	p, err := shmring.OpenProducer(ctx, "r", &shmring.Options{Dir: dir, Mode: shmring.ModeOpenOnly})
	if err != nil {
		return err
	}
	c, err := p.Claim(ctx, 100)
	if err != nil {
		return err
	}
	fmt.Println("claimed")
	bufio.NewReader(os.Stdin).ReadString('\n')
	err = c.Commit()
	fmt.Println(errors.Is(err, shmring.ErrRevoked))
	return p.Close()
}

// stopped starts such a child and stops it.
func stopped(t *testing.T, o *shmring.Options) (*exec.Cmd, *bufio.Scanner, io.Writer) {
	cmd, told, in := spawnWithInput(t, o.Dir, 0, 0, "claim")
	require.True(t, told.Scan())
	require.NoError(t, cmd.Process.Signal(unix.SIGSTOP))
	return cmd, told, in
}

// A stopped producer's claim holds up the consumer and is shown, until ForceSkip
// gives it up; the producer is told when it comes back.
func TestForceSkipOfAStoppedProducer(t *testing.T) {
	o := &shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 16, MaxProducers: 2}
	p := openProducer(t, o)
	cmd, told, in := stopped(t, o)
	require.NoError(t, p.Send(soon(t), []byte("behind")))
	c := openConsumer(t, o)
	_, err := shmring.ForceSkip(soon(t), "r", shmring.Position{Record: 5}, at(o.Dir))
	require.ErrorIs(t, err, shmring.ErrNotStalled)

	brief, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Next(brief)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	stalled := c.Stats().Stalled
	require.NotNil(t, stalled)
	require.Equal(t, cmd.Process.Pid, stalled.PID)
	require.Positive(t, stalled.Age)

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = shmring.ForceSkip(cancelled, "r", stalled.Position, at(o.Dir))
	require.ErrorIs(t, err, context.Canceled)
	skipped, err := shmring.ForceSkip(soon(t), "r", stalled.Position, at(o.Dir))
	require.NoError(t, err)
	require.Equal(t, cmd.Process.Pid, skipped.PID)
	require.GreaterOrEqual(t, skipped.Age, time.Second)
	m, err := c.Next(soon(t))
	require.NoError(t, err)
	require.Equal(t, "behind", string(m.Bytes()))
	m.Release()
	require.NoError(t, c.Check())
	require.Positive(t, c.Used(), "nothing is released while it may still write")

	require.NoError(t, cmd.Process.Signal(unix.SIGCONT))
	fmt.Fprintln(in)
	require.True(t, told.Scan())
	require.Equal(t, "true", told.Text())
	require.NoError(t, cmd.Wait())
	_, err = c.TryNext()
	require.ErrorIs(t, err, shmring.ErrFailed, "its claim is missing")
	_, err = c.TryNext()
	require.ErrorIs(t, err, shmring.ErrEmpty)
	require.NoError(t, c.Check())
	require.Zero(t, c.Used())
}

// What is finished while ForceSkip watches is left alone.
func TestForceSkipSparesWhatMoves(t *testing.T) {
	o := &shmring.Options{Dir: ringDir(t), Kind: shmring.KindMPSC, Slots: 16}
	p, c := openProducer(t, o), openConsumer(t, o)
	claim, err := p.TryClaim(4)
	require.NoError(t, err)
	time.AfterFunc(100*time.Millisecond, func() { claim.Commit() })
	_, err = shmring.ForceSkip(soon(t), "r", shmring.Position{}, at(o.Dir))
	require.ErrorIs(t, err, shmring.ErrNotStalled)
	m, err := c.Next(soon(t))
	require.NoError(t, err)
	m.Release()
	require.NoError(t, p.Send(soon(t), nil))
}

// Recover says what the dead have left, keeps what they sent, and refuses to touch a
// ring in use.
func TestRecover(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		_, err := shmring.Recover(soon(t), "r", at(o.Dir))
		require.ErrorIs(t, err, fs.ErrNotExist)
		o.Mode = shmring.ModeCreateOnly
		c := openConsumer(t, &o)
		cmd, told, _ := spawnWithInput(t, o.Dir, 0, 3, "stop")
		require.True(t, told.Scan())
		require.NoError(t, c.Close())
		_, err = shmring.Recover(soon(t), "r", at(o.Dir))
		require.ErrorIs(t, err, shmring.ErrBusy)
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait()

		looking, err := shm.Open(soon(t), "r", 1, &shm.Options{Dir: o.Dir})
		require.NoError(t, err)
		_, err = shmring.Recover(soon(t), "r", at(o.Dir))
		require.ErrorIs(t, err, shmring.ErrBusy, "somebody is about to attach")
		require.NoError(t, looking.Close())

		got, err := shmring.Recover(soon(t), "r", at(o.Dir))
		require.NoError(t, err)
		require.Equal(t, []shmring.DeadPeer{{Role: shmring.RoleProducer, Participant: 1, PID: cmd.Process.Pid}}, got.Dead)
		require.Positive(t, got.Used)
		require.Equal(t, filepath.Join(o.Dir, "r.shmring"), got.Path)
		got, err = shmring.Recover(soon(t), "r", at(o.Dir))
		require.NoError(t, err)
		require.Empty(t, got.Dead)

		o.Mode = shmring.ModeOpenOnly
		c = openConsumer(t, &o)
		require.False(t, c.Info().Recovered, "there was nothing left to recover")
		buf := make([]byte, c.MaxMessage())
		for i := range 3 {
			n, err := c.Receive(soon(t), buf)
			require.NoError(t, err)
			require.Equal(t, i, checkNumbered(t, buf[:n]))
		}
	})
}

func TestRecoverRefusesCorruption(t *testing.T) {
	o := &shmring.Options{Dir: ringDir(t), Slots: 16}
	p := openProducer(t, o)
	path := p.Info().Path
	require.NoError(t, p.Close())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{9}, 768+512) // a participant's state
	require.NoError(t, err)
	_, err = shmring.Recover(soon(t), "r", at(o.Dir))
	require.ErrorIs(t, err, shmring.ErrCorrupt)
	require.ErrorContains(t, err, "remove the ring")
	require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
}

// A ring of another version is told apart from a broken one, with both versions.
func TestOtherVersion(t *testing.T) {
	o := &shmring.Options{Dir: ringDir(t), Slots: 16, Doorbell: shmring.DoorbellFutex} // nobody could find a semaphore set
	p := openProducer(t, o)
	path := p.Info().Path
	require.NoError(t, p.Close())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{7, 0, 3, 0}, 12)
	require.NoError(t, err)
	for _, open := range []func() error{
		func() error { _, err := shmring.OpenProducer(soon(t), "r", o); return err },
		func() error { _, err := shmring.OpenConsumer(soon(t), "r", o); return err },
		func() error { _, err := shmring.Recover(soon(t), "r", at(o.Dir)); return err },
	} {
		err := open()
		require.ErrorIs(t, err, shmring.ErrVersion)
		require.ErrorContains(t, err, "7.3")
		require.ErrorContains(t, err, "4.x")
		require.ErrorContains(t, err, path)
	}
}

// What systemd's RemoveIPC does at logout: every file of the user's goes, in use or
// not. Both sides notice within a bound, and start over.
func TestRemoveIPC(t *testing.T) {
	for name, vanish := range map[string]func(dir, path string) error{
		"removed":  func(_, path string) error { return os.Remove(path) },
		"renamed":  func(dir, path string) error { return os.Rename(path, dir+"/elsewhere") },
		"replaced": func(dir, path string) error { return os.WriteFile(dir+"/x", nil, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			o := &shmring.Options{Dir: ringDir(t), Slots: 8, SlotSize: shmring.NoPayload, WaitPolicy: shmring.WaitSleep}
			p, c := openProducer(t, o), openConsumer(t, o)
			sent := 0
			for ; p.TrySend(nil) == nil; sent++ {
			}
			full := make(chan error, 1)
			go func() { full <- p.Send(soon(t), nil) }()
			path := p.Info().Path
			require.NoError(t, vanish(o.Dir, path))
			if name == "replaced" {
				require.NoError(t, os.Rename(o.Dir+"/x", path))
			}
			begin := time.Now()
			require.ErrorIs(t, <-full, shmring.ErrOrphaned)
			require.Less(t, time.Since(begin), 5*time.Second, "the bound is a fraction of a second; machines are busy")
			for range sent {
				_, err := c.Receive(soon(t), nil)
				require.NoError(t, err, "what was sent still comes")
			}
			_, err := c.Receive(soon(t), nil)
			require.ErrorIs(t, err, shmring.ErrOrphaned)
			require.ErrorIs(t, p.Check(), shmring.ErrOrphaned)
			require.NoError(t, c.Close())
			require.ErrorIs(t, p.Close(), shmring.ErrOrphaned)
			require.ErrorIs(t, p.Check(), shmring.ErrClosed)
			if name == "replaced" {
				_, err := shmring.OpenProducer(soon(t), "r", o)
				require.Error(t, err, "an empty file is no ring")
				require.NoError(t, os.Remove(path))
			}
			p = openProducer(t, o)
			require.True(t, p.Info().Created)
		})
	}
}

// A consumer that promises at most once, killed in the middle, does not see anything
// twice, and loses at most what it had in hand.
func TestAtMostOnceKilled(t *testing.T) {
	kinds(t, func(t *testing.T, o shmring.Options) {
		o.Slots = 256
		p := openProducer(t, &o)
		sent, last := 0, -1
		for range 10 {
			for p.TrySend(numbered(sent)) == nil {
				sent++
			}
			cmd, told, _ := spawnWithInput(t, o.Dir, 0, 0, "once")
			for first := true; told.Scan(); first = false {
				var i int
				if _, err := fmt.Sscan(told.Text(), &i); err != nil {
					break
				}
				require.Greater(t, i, last)
				if !first {
					require.Equal(t, last+1, i, "only what a dead consumer had may be missing")
				}
				require.LessOrEqual(t, i, last+2)
				last = i
				if first {
					time.AfterFunc(time.Duration(last%7)*100*time.Microsecond, func() { cmd.Process.Kill() })
				}
			}
			cmd.Wait()
		}
	})
}
