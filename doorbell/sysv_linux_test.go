package doorbell_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/layout"
)

// sets lists the ids of the sets with a key that this process has made; of all with key 0.
func sets(t *testing.T, key uint32) []int {
	text, err := os.ReadFile("/proc/sysvipc/sem")
	require.NoError(t, err)
	var ids []int
	for line := range strings.Lines(string(text)) {
		var k int32
		var id int
		if n, _ := fmt.Sscan(line, &k, &id); n == 2 && (key == 0 || uint32(k) == key) && doorbell.MadeHere(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func sysv(t *testing.T) mapping {
	if err := doorbell.Refused(layout.SysV); err != nil {
		t.Skip(err)
	}
	return segment(t, layout.SysV)
}

func (m mapping) set() layout.SemaphoreSet {
	return m.view.Hot.Semaphores.Set.Load()
}

func (m mapping) key() uint32 { return m.view.Hot.Semaphores.Key.Load() }

func (m mapping) remove(t *testing.T) {
	require.NoError(t, doorbell.Remove(m.view.Config, &m.view.Hot.Semaphores, os.Geteuid()))
}

// works has one side sleep on a round, and the other ring.
func works(t *testing.T, m mapping) {
	n := m.again(t)
	mine, theirs := m.bell(t, false), n.bell(t, false)
	require.True(t, m.set().Present())
	require.Contains(t, sets(t, 0), m.set().ID())
	word := &m.view.Hot.DataBell
	old := word.Or(layout.BellSleeper) | layout.BellSleeper
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		time.Sleep(time.Millisecond)
		ring(theirs, &n.view.Hot.DataBell)
	})
	for word.Load() == old {
		timedOut, err := mine.Sleep(old, long, nil)
		require.NoError(t, err)
		require.False(t, timedOut)
	}
}

func TestSetIsMadeOnceAndRemoved(t *testing.T) {
	m := sysv(t)
	before := sets(t, 0)
	works(t, m)
	require.Equal(t, uint32(1), m.set().Generation())
	works(t, m)
	require.Equal(t, uint32(1), m.set().Generation(), "who comes later uses it")
	require.Len(t, sets(t, 0), len(before)+1)
	m.remove(t)
	require.False(t, m.set().Present())
	require.Equal(t, before, sets(t, 0))
	m.remove(t)
	works(t, m)
	require.Equal(t, uint32(2), m.set().Generation())
}

// Who may write the file may use the set, and nobody else.
func TestSetHasThePermissionsOfTheFile(t *testing.T) {
	for mode, want := range map[os.FileMode]uint32{0o600: 0o600, 0o660: 0o660, 0o640: 0o600} {
		m := sysv(t)
		require.NoError(t, os.Chmod(m.seg.Path(), mode))
		m.bell(t, false)
		perm, err := doorbell.Permissions(m.set().ID())
		require.NoError(t, err)
		require.EqualValues(t, want, perm.Mode&0o777)
	}
	if os.Geteuid() != 0 {
		t.Skip("giving files away needs privileges")
	}
	m := sysv(t)
	require.NoError(t, os.Chown(m.seg.Path(), 12, 34))
	m.bell(t, false)
	perm, err := doorbell.Permissions(m.set().ID())
	require.NoError(t, err)
	require.EqualValues(t, 12, perm.Uid)
	require.EqualValues(t, 34, perm.Gid)
	require.NoError(t, os.Chown(m.seg.Path(), 0, 0))
}

// died is what stands for a kill.
type died struct{}

// Whoever makes the set is killed at each system call in turn. The next one goes on, with
// one set, and nothing is left when that is removed.
func TestMakerIsKilled(t *testing.T) {
	for _, state := range []string{"new", "lost", "foreign"} {
		t.Run(state, func(t *testing.T) {
			for at := 1; ; at++ {
				m := sysv(t)
				before := sets(t, 0)
				stranger := -1
				var err error
				switch state {
				case "lost":
					m.bell(t, false)
					require.NoError(t, doorbell.RemoveSet(m.set().ID()))
				case "foreign":
					m.view.Hot.Semaphores.Key.Store(0x12345)
					stranger, err = doorbell.MakeSet(0x12345, doorbell.SetSize)
					require.NoError(t, err)
					require.NoError(t, doorbell.SetValue(stranger, 3, 9))
				}
				killed := makeAndDie(t, m, at)
				works(t, m)
				if stranger >= 0 {
					require.NotEqual(t, uint32(0x12345), m.key())
					require.Equal(t, 9, doorbell.Value(stranger, 3), "not ours")
					require.NoError(t, doorbell.RemoveSet(stranger))
				}
				if at%2 == 0 {
					makeAndDie(t, m.again(t), at) // nothing is made any more
				}
				m.remove(t)
				require.Equal(t, before, sets(t, 0), "call %d", at)
				if !killed {
					require.Greater(t, at, 3)
					return
				}
			}
		})
	}
}

// One who is killed has no successor: what it left is removed with the segment.
func TestMakerIsKilledAndNobodyComes(t *testing.T) {
	for at, killed := 1, true; killed; at++ {
		m := sysv(t)
		before := sets(t, 0)
		killed = makeAndDie(t, m, at)
		m.remove(t)
		require.Equal(t, before, sets(t, 0), "call %d", at)
	}
}

func makeAndDie(t *testing.T, m mapping, at int) (killed bool) {
	t.Run("maker", func(t *testing.T) {
		calls := 0
		doorbell.BeforeCall(t, func(string) unix.Errno {
			if calls++; calls == at {
				panic(died{})
			}
			return 0
		})
		defer func() {
			if p := recover(); p != nil {
				require.Equal(t, died{}, p)
				killed = true
			}
		}()
		_, err := doorbell.New(layout.SysV, m.again(t).site(false))
		require.NoError(t, err)
	})
	return killed
}

// Somebody removes the set under a sleeper: it wakes, makes another, and is woken there.
// The waker has used the old one.
func TestSetIsRemovedUnderSleepers(t *testing.T) {
	m := sysv(t)
	n := m.again(t)
	mine, theirs := m.bell(t, true), n.bell(t, true)
	word, other := &m.view.Hot.SpaceBell, &n.view.Hot.SpaceBell
	for i := range 50 {
		old := word.Or(layout.BellSleeper) | layout.BellSleeper
		set := m.set()
		done := make(chan error, 3)
		for range cap(done) {
			go func() {
				for word.Load() == old {
					timedOut, err := mine.Sleep(old, long, nil)
					if err == nil && timedOut {
						err = os.ErrDeadlineExceeded
					}
					if err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		if i%2 == 0 {
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, doorbell.RemoveSet(set.ID()))
		if i%3 > 0 {
			for m.set() == set {
				time.Sleep(10 * time.Microsecond)
			}
			require.Equal(t, set.Generation()+1, m.set().Generation())
		}
		ring(theirs, other)
		for range cap(done) {
			require.NoError(t, <-done)
		}
		mine.Sleep(old+layout.BellCount, 0, nil)
		_, err := doorbell.New(layout.SysV, n.site(true)) // makes one, if no sleeper has
		require.NoError(t, err)
		require.Equal(t, []int{m.set().ID()}, sets(t, m.key()))
	}
}

// Stopping works without a set too.
func TestStopWithoutASet(t *testing.T) {
	m := sysv(t)
	b := m.bell(t, false)
	require.NoError(t, doorbell.RemoveSet(m.set().ID()))
	b.Stop(new(atomic.Uint32))
	b.Wake(0)
	timedOut, err := b.Sleep(0, 0, nil)
	require.NoError(t, err)
	require.True(t, timedOut)
}

// Another process is making the set and does not come to an end: sleepers nap.
func TestMakerIsStuck(t *testing.T) {
	m := sysv(t)
	n := m.again(t)
	ok, err := n.seg.TryLock(layout.SemaphoreLock)
	require.NoError(t, err)
	require.True(t, ok)
	b := m.bell(t, false)
	require.False(t, m.set().Present())
	begin := time.Now()
	_, err = b.Sleep(0, long, nil)
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(begin), time.Millisecond)
	require.Less(t, time.Since(begin), long/2)
	timedOut, err := b.Sleep(0, 100*time.Microsecond, nil)
	require.NoError(t, err)
	require.True(t, timedOut)
	require.NoError(t, n.seg.Unlock(layout.SemaphoreLock))
	_, err = b.Sleep(0, long, nil)
	require.NoError(t, err)
	require.True(t, m.set().Present(), "the next one makes it")
}

// A peer writes whatever it likes. Sets that are not ours stay as they are, nothing
// crashes, and nothing takes long.
func TestHostileWords(t *testing.T) {
	m := sysv(t)
	sems := &m.view.Hot.Semaphores
	b := m.bell(t, false)
	ours := m.set()
	for name, size := range map[string]int{"smaller": 1, "nearly": doorbell.SetSize - 1, "same": doorbell.SetSize,
		"larger": doorbell.SetSize + 1} {
		const key = 0x7654321
		stranger, err := doorbell.MakeSet(key, size)
		require.NoError(t, err)
		for num := range size {
			require.NoError(t, doorbell.SetValue(stranger, num, 7))
		}
		for i, word := range []layout.SemaphoreSet{layout.PackSemaphoreSet(1, stranger), layout.PackSemaphoreSet(1<<32-1,
			1<<31-1), 0, ours + 1<<32, layout.PackSemaphoreSet(9, 0)} {
			for _, k := range []uint32{m.key(), key, 0, 1<<32 - 1} {
				sems.Set.Store(word)
				sems.Key.Store(k)
				begin := time.Now()
				b.Wake(0)
				_, err := b.Sleep(0, time.Millisecond, nil)
				require.NoError(t, err)
				b.Stop(new(atomic.Uint32))
				require.Less(t, time.Since(begin), 5*time.Second, "%s %d", name, i)
				works(t, m)
				if m.set().ID() != ours.ID() {
					m.remove(t)
				}
			}
		}
		for num := range size {
			require.Equal(t, 7, doorbell.Value(stranger, num), name)
		}
		sems.Set.Store(layout.PackSemaphoreSet(1, stranger))
		sems.Key.Store(key)
		m.remove(t)
		require.Contains(t, sets(t, key), stranger, "%s: removed a stranger's", name)
		require.NoError(t, doorbell.RemoveSet(stranger))
	}
	sems.Set.Store(ours)
	m.remove(t)
}

// A blank set of somebody else's is not adopted, nor removed.
func TestBlankSetOfAStranger(t *testing.T) {
	m := sysv(t)
	const key = 0x7654323
	stranger, err := doorbell.MakeSet(key, doorbell.SetSize)
	require.NoError(t, err)
	defer doorbell.RemoveSet(stranger)
	t.Run("we", func(t *testing.T) {
		doorbell.BeforeCall(t, func(name string) unix.Errno {
			if name == "IPC_STAT" {
				return unix.EACCES
			}
			return 0
		})
		m.view.Hot.Semaphores.Key.Store(key)
		m.bell(t, false)
		require.NotEqual(t, uint32(key), m.key())
	})
	require.Contains(t, sets(t, key), stranger)
}

func TestSysVIsRefused(t *testing.T) {
	for name, refusal := range map[string]unix.Errno{"semget": unix.ENOSYS, "SETVAL": unix.EPERM,
		"semtimedop": unix.ENOSYS, "semget ": unix.ENOSPC} {
		t.Run(name+refusal.Error(), func(t *testing.T) {
			m := sysv(t)
			before := sets(t, 0)
			doorbell.BeforeCall(t, func(call string) unix.Errno {
				if call == strings.TrimSpace(name) {
					return refusal
				}
				return 0
			})
			require.ErrorIs(t, doorbell.TrySysV(), refusal)
			require.Equal(t, before, sets(t, 0))
			b, err := doorbell.New(layout.SysV, m.site(false))
			if err == nil {
				_, err = b.Sleep(0, time.Second, nil)
			}
			require.ErrorIs(t, err, doorbell.ErrUnavailable)
			require.ErrorIs(t, err, refusal)
			var set *doorbell.SetError
			require.ErrorAs(t, err, &set)
		})
	}
}

func TestProbeLeavesNothing(t *testing.T) {
	if err := doorbell.Refused(layout.SysV); err != nil {
		t.Skip(err)
	}
	before := sets(t, 0)
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			var err error
			for i := 0; i < 50 && err == nil; i++ {
				err = doorbell.TrySysV()
			}
			done <- err
		}()
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
	require.Equal(t, before, sets(t, 0))
}

func TestSysVInAnotherNamespace(t *testing.T) {
	m := sysv(t)
	b := m.bell(t, false)
	before := sets(t, 0)
	set, key := m.set(), m.key()
	refused := func() {
		_, err := doorbell.New(layout.SysV, m.again(t).site(false))
		var ns *doorbell.NamespaceError
		require.ErrorAs(t, err, &ns)
		require.Equal(t, uint64(77), ns.Ours)
		require.ErrorIs(t, err, doorbell.ErrUnavailable)
		require.ErrorContains(t, err, "share the IPC namespace")
	}
	t.Run("elsewhere", func(t *testing.T) {
		doorbell.InNamespace(t, 77)
		refused()
		m.remove(t)
		require.Equal(t, before, sets(t, 0))
		require.Equal(t, set, m.set())
		require.NoError(t, doorbell.RemoveSet(set.ID()))
		refused()
		_, err := b.Sleep(0, time.Second, nil)
		require.ErrorIs(t, err, doorbell.ErrUnavailable)
	})
	require.Equal(t, key, m.key())
	t.Run("no proc", func(t *testing.T) {
		doorbell.InNamespace(t, 0)
		works(t, m)
	})
}

// Two rings of one user: neither takes the other's set, whatever their headers say.
func TestSetOfAnotherRing(t *testing.T) {
	m, n := sysv(t), sysv(t)
	m.bell(t, false)
	n.view.Hot.Semaphores.Key.Store(m.key())
	n.bell(t, false)
	require.NotEqual(t, m.set().ID(), n.set().ID())
	n.view.Hot.Semaphores.Key.Store(m.key())
	n.remove(t)
	require.Equal(t, []int{m.set().ID()}, sets(t, m.key()))
}

// The id alone is enough to find the set.
func TestRemoveByID(t *testing.T) {
	m := sysv(t)
	before := sets(t, 0)
	m.bell(t, false)
	m.view.Hot.Semaphores.Key.Store(0)
	m.remove(t)
	require.Equal(t, before, sets(t, 0))
}
