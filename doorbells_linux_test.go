package shmring_test

import (
	"context"
	"fmt"
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
	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// semaphoreSets counts the sets with a key in this IPC namespace.
func semaphoreSets(t *testing.T, key uint32) (n int) {
	text, err := os.ReadFile("/proc/sysvipc/sem")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var k int32
		if found, _ := fmt.Sscan(line, &k); found == 1 && uint32(k) == key {
			n++
		}
	}
	return n
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	require.Eventually(t, is, 10*time.Second, time.Millisecond)
}

func setKey(t *testing.T, path string) uint32 {
	key := header(t, path).Semaphores.Key.Load()
	require.NotZero(t, key)
	return key
}

func needSysV(t *testing.T) {
	t.Setenv(shmring.EnvDoorbell, "")
	if err := doorbell.Refused(layout.SysV); err != nil {
		t.Skip(err)
	}
}

// header is a way to look at a ring from outside.
func header(t *testing.T, path string) *layout.Hot {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	_, hot, err := layout.ParseHead(b)
	require.NoError(t, err)
	return hot
}

func currentSet(t *testing.T, path string) layout.SemaphoreSet {
	return header(t, path).Semaphores.Set.Load()
}

// ipcrm is what an administrator does, or logind.
func ipcrm(t *testing.T, id int) {
	_, _, e := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), 0, unix.IPC_RMID, 0, 0, 0)
	require.Zero(t, e)
}

func TestRemoveRemovesTheSemaphores(t *testing.T) {
	needSysV(t)
	o := shmring.Options{Dir: ringDir(t), Doorbell: shmring.DoorbellSysV, KeepStream: true}
	p, err := shmring.OpenProducer(soon(t), "r", &o)
	require.NoError(t, err)
	require.Equal(t, shmring.DoorbellSysV, p.Info().Doorbell)
	key := setKey(t, p.Info().Path)
	require.Equal(t, 1, semaphoreSets(t, key))
	require.ErrorIs(t, shmring.Remove(soon(t), "r", at(o.Dir)), shmring.ErrBusy)
	require.Equal(t, 1, semaphoreSets(t, key))
	require.NoError(t, p.Close())
	require.Equal(t, 1, semaphoreSets(t, key), "the ring stays, and so does its set")
	require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
	require.Zero(t, semaphoreSets(t, key))
}

// The file is removed by hand. Those who have it open go on; the last one cleans up.
func TestLastOfAnOrphanRemovesTheSemaphores(t *testing.T) {
	needSysV(t)
	orphan := openProducer(t, &shmring.Options{Dir: ringDir(t), Doorbell: shmring.DoorbellSysV, KeepStream: true})
	if orphan.Info().Locks == "flock" {
		// Nobody can tell who is last. Closing works all the same.
		head, err := os.ReadFile(orphan.Info().Path)
		require.NoError(t, err)
		cfg, hot, err := layout.ParseHead(head)
		require.NoError(t, err)
		info, err := os.Stat(orphan.Info().Path)
		require.NoError(t, err)
		file := doorbell.File{Inode: info.Sys().(*syscall.Stat_t).Ino, Owner: os.Geteuid()}
		t.Cleanup(func() { require.NoError(t, doorbell.Remove(cfg, &hot.Semaphores, file)) })
		require.NoError(t, os.Remove(orphan.Info().Path))
		require.ErrorIs(t, orphan.Close(), shmring.ErrOrphaned)
		return
	}
	for range 100 {
		o := shmring.Options{Dir: ringDir(t), Doorbell: shmring.DoorbellSysV, Kind: shmring.KindMPSC, KeepStream: true}
		var handles []*shmring.Producer
		for range 4 {
			handles = append(handles, openProducer(t, &o)) // closed, and the set gone, also when this fails
		}
		key := setKey(t, handles[0].Info().Path)
		require.NoError(t, os.Remove(handles[0].Info().Path))
		require.ErrorIs(t, handles[0].Close(), shmring.ErrOrphaned)
		require.Equal(t, 1, semaphoreSets(t, key))
		done := make(chan error)
		for _, p := range handles[1:] {
			go func() { done <- p.Close() }()
		}
		for range handles[1:] {
			require.ErrorIs(t, <-done, shmring.ErrOrphaned)
		}
		require.Zero(t, semaphoreSets(t, key))
	}
}

// Somebody removes the set under the feet of a consumer that sleeps and of a producer
// that is blocked: they go on with another.
func TestSemaphoresAreRemovedByHand(t *testing.T) {
	needSysV(t)
	o := shmring.Options{Dir: ringDir(t), Doorbell: shmring.DoorbellSysV, Mode: shmring.ModeCreateOnly, Slots: 16,
		WaitPolicy: shmring.WaitSleep}
	c := openConsumer(t, &o)
	path := c.Info().Path
	key := setKey(t, path)
	o.Mode = shmring.ModeOpenOnly
	for life := range uint32(5) {
		set := currentSet(t, path)
		require.Equal(t, life*2+1, set.Generation())
		received := make(chan error)
		go func() {
			_, err := c.Receive(soon(t), make([]byte, 1<<16))
			received <- err
		}()
		eventually(t, func() bool { return header(t, path).DataBell.Load()&layout.BellSleeper != 0 })
		ipcrm(t, set.ID())
		eventually(t, func() bool { return currentSet(t, path).Generation() == set.Generation()+1 })
		cmd, told := spawn(t, o.Dir, 0, 1, "stop")
		require.True(t, told.Scan())
		require.NoError(t, <-received)
		require.NoError(t, cmd.Process.Kill())
		cmd.Wait()
		for { // what tells of its death
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			_, err := c.Receive(ctx, make([]byte, 1<<16))
			cancel()
			if err != nil {
				break
			}
		}
		// A producer that is blocked, in another process.
		cmd, _ = spawn(t, o.Dir, 0, 100, "quietly")
		eventually(t, func() bool { return header(t, path).SpaceBell.Load()&layout.BellSleeper != 0 })
		set = currentSet(t, path)
		ipcrm(t, set.ID())
		eventually(t, func() bool { return currentSet(t, path).Generation() == set.Generation()+1 })
		for i := range 100 {
			n, err := c.Receive(soon(t), make([]byte, 1<<16))
			for deadError(err) {
				n, err = c.Receive(soon(t), make([]byte, 1<<16))
			}
			require.NoError(t, err, "%d, %d", i, n)
		}
		require.NoError(t, cmd.Wait())
		c.Receive(soon(t), nil) // the end
	}
	require.NoError(t, c.Close())
	require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
	require.Zero(t, semaphoreSets(t, key))
}

// A process in another IPC namespace is refused, and makes nothing.
func TestAnotherIPCNamespace(t *testing.T) {
	needSysV(t)
	o := shmring.Options{Dir: ringDir(t), Doorbell: shmring.DoorbellSysV, Mode: shmring.ModeCreateOnly, KeepStream: true}
	p := openProducer(t, &o)
	set, key := currentSet(t, p.Info().Path), setKey(t, p.Info().Path)
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(soon(t), exe)
	cmd.Env = append(os.Environ(), childEnv+"="+fmt.Sprint(o.Dir, " 0 0 consume"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWIPC}
	out, err := cmd.CombinedOutput()
	if os.IsPermission(err) {
		t.Skip("a namespace of its own needs privileges: ", err)
	}
	require.Error(t, err)
	require.Contains(t, string(out), "share the IPC namespace")
	require.Equal(t, set, currentSet(t, p.Info().Path))
	require.NoError(t, p.Close())
	require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
	require.Zero(t, semaphoreSets(t, key))
}

func TestEnvironmentChoosesTheDoorbell(t *testing.T) {
	for text, want := range map[string]shmring.Doorbell{
		"futex": shmring.DoorbellFutex, "sysv": shmring.DoorbellSysV, "poll": shmring.DoorbellPoll,
	} {
		t.Run(text, func(t *testing.T) {
			t.Setenv(shmring.EnvDoorbell, text)
			if err := doorbell.Refused(layout.Doorbell(want)); err != nil {
				t.Skip(err)
			}
			o := shmring.Options{Dir: ringDir(t), KeepStream: true}
			p := openProducer(t, &o)
			require.Equal(t, want, p.Info().Doorbell)
			require.Empty(t, p.Info().Refused)

			other := map[bool]string{true: "poll", false: "futex"}[text == "futex"]
			t.Setenv(shmring.EnvDoorbell, other)
			_, err := shmring.OpenConsumer(soon(t), "r", &o)
			var geometry *shmring.GeometryError
			require.ErrorAs(t, err, &geometry)
			require.Equal(t, "doorbell", geometry.Field)
			require.ErrorContains(t, err, shmring.EnvDoorbell)

			o.Doorbell = want
			c, err := shmring.OpenConsumer(soon(t), "r", &o)
			require.NoError(t, err, "the option is stronger")
			require.NoError(t, c.Close())
			require.NoError(t, p.Close())
			require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
		})
	}
	t.Setenv(shmring.EnvDoorbell, "sleepy")
	_, err := shmring.OpenProducer(soon(t), "r", &shmring.Options{Dir: ringDir(t)})
	require.ErrorContains(t, err, `environment variable SHMRING_DOORBELL is "sleepy", want futex, sysv or poll`)
}

// Whoever makes a ring without its favourite doorbell says why.
func TestRefusedDoorbells(t *testing.T) {
	t.Setenv(shmring.EnvDoorbell, "")
	why := []doorbell.Refusal{{Kind: layout.Futex, Err: syscall.ENOSYS}, {Kind: layout.SysV, Err: syscall.EPERM}}
	shmring.ReplaceProbe(t, func() (layout.Doorbell, []doorbell.Refusal) { return layout.Poll, why })
	o := shmring.Options{Dir: ringDir(t), KeepStream: true, WaitPolicy: shmring.WaitSleep}
	p := openProducer(t, &o)
	require.Equal(t, shmring.DoorbellPoll, p.Info().Doorbell)
	require.Equal(t, []shmring.Refusal{{Doorbell: shmring.DoorbellFutex, Err: syscall.ENOSYS},
		{Doorbell: shmring.DoorbellSysV, Err: syscall.EPERM}}, p.Info().Refused)
	require.Equal(t, []string{"not the doorbell futex: " + syscall.ENOSYS.Error(),
		"not the doorbell sysv: " + syscall.EPERM.Error()}, p.Stats().Fallbacks)
	c := openConsumer(t, &o)
	require.Empty(t, c.Info().Refused, "it had no choice")
	go func() {
		time.Sleep(2 * time.Millisecond)
		p.Send(context.Background(), []byte("late"))
	}()
	n, err := c.Receive(soon(t), make([]byte, 1<<16))
	require.NoError(t, err)
	require.Equal(t, 4, n)
	require.Zero(t, c.Stats().TimeoutWakeups)
}

// An attempt that is refused leaves no set behind that nobody finds.
func TestRefusedAttach(t *testing.T) {
	needSysV(t)
	o := shmring.Options{Dir: ringDir(t), Doorbell: shmring.DoorbellSysV, KeepStream: true}
	p := openProducer(t, &o)
	key := setKey(t, p.Info().Path)
	_, err := shmring.OpenProducer(soon(t), "r", &o)
	require.ErrorIs(t, err, shmring.ErrBusy)
	_, err = os.Stat(filepath.Join(o.Dir, "r"+shm.Suffix))
	require.NoError(t, err)
	require.NoError(t, p.Close())
	require.NoError(t, shmring.Remove(soon(t), "r", at(o.Dir)))
	require.Zero(t, semaphoreSets(t, key))
}
