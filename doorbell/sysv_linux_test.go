package doorbell_test

import (
	"fmt"
	"os"
	"runtime"
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
	require.NoError(t, doorbell.Remove(m.view.Config, &m.view.Hot.Semaphores, m.file()))
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
		require.EqualValues(t, want|doorbell.Mark, perm.Mode&0o777)
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
					stranger, err = doorbell.MakeSet(doorbell.Keys(m.site(false))[0], doorbell.SetSize)
					require.NoError(t, err)
					require.NoError(t, doorbell.SetValue(stranger, 3, 9))
				}
				killed := makeAndDie(t, m, at)
				works(t, m)
				if stranger >= 0 {
					require.Equal(t, doorbell.Keys(m.site(false))[1], m.key())
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

// A peer spoils what the segment says of the set: who sleeps there is stopped all the same, and at once.
func TestStopWhereTheWordsAreSpoiled(t *testing.T) {
	m := sysv(t)
	b := m.bell(t, false)
	words := &m.view.Hot.Semaphores
	for range 20 {
		set, key, stop := words.Set.Load(), words.Key.Load(), new(atomic.Uint32)
		done := make(chan bool, 1)
		go func() {
			timedOut, _ := b.Sleep(0, long, []*atomic.Uint32{stop})
			done <- timedOut
		}()
		require.Eventually(t, func() bool { return doorbell.Waiting(set.ID(), 0) == 1 }, long, time.Millisecond)
		words.Set.Store(0)
		words.Key.Store(0)
		b.Stop(stop)
		require.False(t, <-done)
		words.Set.Store(set)
		words.Key.Store(key)
	}
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

// A peer that zeroes, or forges, what the segment says of its set makes nobody make another.
func TestForgedWordsLeakNoSet(t *testing.T) {
	m := sysv(t)
	before := sets(t, 0)
	b := m.bell(t, false)
	ours, sems := m.set().ID(), &m.view.Hot.Semaphores
	for i := range 100 {
		sems.Set.Store(layout.SemaphoreSet(uint64(i%3) * 0x1234567))
		sems.Key.Store(uint32(i%2) * 0x7654321)
		if i%5 == 0 { // also by its values
			require.NoError(t, doorbell.SetValue(ours, doorbell.SetSize-1, i))
		}
		doorbell.Now(b)
		_, err := b.Sleep(0, time.Microsecond, nil)
		require.NoError(t, err)
		works(t, m)
		require.Equal(t, ours, m.set().ID())
		require.Equal(t, doorbell.Keys(m.site(false))[0], m.key())
	}
	require.Equal(t, append(before, ours), sets(t, 0))
	sems.Set.Store(0)
	sems.Key.Store(0)
	sems.Namespace.Store(77) // a peer's lie that it is elsewhere keeps nobody from removing it
	m.remove(t)
	require.Equal(t, before, sets(t, 0))
}

// A set that is not ours, at a key of ours, is neither adopted nor removed, whatever is in it.
func TestSetsOfStrangersAtOurKeys(t *testing.T) {
	for name, make := range map[string]func(key uint32) (int, error){
		"without the mark": func(key uint32) (int, error) { return doorbell.MakeSet(key, doorbell.SetSize) },
		"larger":           func(key uint32) (int, error) { return doorbell.MakeSet(key, doorbell.SetSize+1) },
		"smaller":          func(key uint32) (int, error) { return doorbell.MakeSet(key, doorbell.SetSize-1) },
	} {
		t.Run(name, func(t *testing.T) {
			m := sysv(t)
			keys := doorbell.Keys(m.site(false))
			var strangers []int
			for _, key := range keys[:3] {
				id, err := make(key)
				require.NoError(t, err)
				defer doorbell.RemoveSet(id)
				strangers = append(strangers, id)
			}
			works(t, m)
			require.Equal(t, keys[3], m.key())
			// One of them goes, and what the segment says is gone too: the set that is in use is found.
			require.NoError(t, doorbell.RemoveSet(strangers[0]))
			ours := m.set().ID()
			m.view.Hot.Semaphores.Set.Store(0)
			works(t, m)
			require.Equal(t, ours, m.set().ID())
			m.remove(t)
			for _, id := range strangers[1:] {
				require.Zero(t, doorbell.Value(id, 0), "removed, or changed")
			}
		})
	}
	m := sysv(t)
	for _, key := range doorbell.Keys(m.site(false)) {
		id, err := doorbell.MakeSet(key, 1)
		require.NoError(t, err)
		defer doorbell.RemoveSet(id)
	}
	_, err := doorbell.New(layout.SysV, m.site(false))
	require.ErrorIs(t, err, doorbell.ErrUnavailable)
	require.ErrorContains(t, err, "all 8 keys")
}

// What somebody else has made is not ours, even with the mark.
func TestMakerOfASet(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("acting as another user needs privileges")
	}
	m := sysv(t)
	key := doorbell.Keys(m.site(false))[0]
	var stranger int
	as(t, 65534, func() {
		var err error
		stranger, err = doorbell.MakeMarkedSet(key)
		require.NoError(t, err)
	})
	defer doorbell.RemoveSet(stranger)
	works(t, m)
	require.NotEqual(t, key, m.key())
	m.remove(t)
	require.Zero(t, doorbell.Value(stranger, 0))
	require.Contains(t, sets(t, key), stranger)
}

// as runs f with another effective user, which only this thread has.
func as(t *testing.T, uid int, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	set := func(id int) {
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(id), ^uintptr(0))
		require.Zero(t, errno)
	}
	set(uid)
	defer set(0)
	f()
}

// A peer gives its ring the UUID of another one. Removing it leaves that one's set alone.
func TestUUIDOfAnotherRing(t *testing.T) {
	m, n := sysv(t), sysv(t)
	m.bell(t, false)
	n.view.Config.UUID = m.view.Config.UUID
	n.view.Hot.Semaphores.Set.Store(m.set())
	n.view.Hot.Semaphores.Key.Store(m.key())
	n.bell(t, false)
	require.NotEqual(t, m.set().ID(), n.set().ID())
	n.view.Hot.Semaphores.Set.Store(m.set())
	n.view.Hot.Semaphores.Key.Store(m.key())
	n.remove(t)
	require.Equal(t, []int{m.set().ID()}, sets(t, m.key()))
}

// The set was removed by hand, and the kernel has given its id to a stranger's: it is not used
// for longer than it takes to turn that wheel.
func TestIDOfAStranger(t *testing.T) {
	m := sysv(t)
	b := m.bell(t, false)
	_, err := b.Sleep(0, time.Microsecond, nil) // now it is known
	require.NoError(t, err)
	stranger, err := doorbell.MakeSet(0x7654325, doorbell.SetSize)
	require.NoError(t, err)
	defer doorbell.RemoveSet(stranger)
	require.NoError(t, doorbell.SetValue(stranger, 0, 7))
	doorbell.Replace(t, m.set().ID(), stranger)
	doorbell.Now(b)
	b.Wake(0)
	_, err = b.Sleep(0, time.Microsecond, nil)
	require.NoError(t, err)
	b.Stop(new(atomic.Uint32))
	require.Equal(t, 7, doorbell.Value(stranger, 0))
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
		// The segment may say so because a peer has written it. A set that is here goes, and what the
		// segment says of another one stays.
		m.remove(t)
		require.NotContains(t, sets(t, 0), set.ID())
		require.Equal(t, set, m.set())
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

// The id alone is enough to find the set.
func TestRemoveByID(t *testing.T) {
	m := sysv(t)
	before := sets(t, 0)
	m.bell(t, false)
	m.view.Hot.Semaphores.Key.Store(0)
	m.remove(t)
	require.Equal(t, before, sets(t, 0))
}
