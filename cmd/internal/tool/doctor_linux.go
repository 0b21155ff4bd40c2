package tool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring"
	"github.com/shmring/shmring/cmd/internal/cli"
	"github.com/shmring/shmring/cmd/internal/host"
	"github.com/shmring/shmring/doorbell"
	"github.com/shmring/shmring/futex"
	"github.com/shmring/shmring/internal/membarrier"
	"github.com/shmring/shmring/layout"
	"github.com/shmring/shmring/shm"
)

// examine looks at everything, from the ground up.
func (f *findings) examine(ctx context.Context, dir string) {
	f.system()
	f.directory(dir)
	f.ring(ctx, dir)
	f.sealed(ctx)
	f.doorbells()
	f.barrier()
	f.inotify()
	f.memlock()
	f.seccomp()
	f.processors()
	f.hugePages()
	f.removeIPC()
	f.namespaces()
}

func (f *findings) system() {
	f.ok("system", "%s, %s, %s", host.Kernel(), runtime.GOARCH, runtime.Version())
}

// fewRings is how many rings of the default size should fit.
const fewRings = 4

// directory says where rings live, and how many fit.
func (f *findings) directory(dir string) {
	dir = where(dir)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		f.add("directory", shmring.SeverityProblem, "make it, or give another by -dir or $SHMRING_DIR", "%s: %v", dir, err)
		return
	}
	free, all := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	if os.Geteuid() == 0 {
		free = st.Bfree * uint64(st.Bsize)
	}
	size, _ := new(shmring.Options).Size()
	room := fmt.Sprintf("%s free of %s, %d rings of the default %s", cli.Size(float64(free)), cli.Size(float64(all)),
		free/uint64(size), cli.Size(float64(size)))
	switch {
	case int64(st.Type) != unix.TMPFS_MAGIC && int64(st.Type) != unix.RAMFS_MAGIC:
		f.add("directory", shmring.SeverityWarning, "use /dev/shm, or a directory of a tmpfs: what rings hold is written "+
			"to the disk now and then", "%s is no memory file system; %s", dir, room)
	case all != 0 && free < fewRings*uint64(size):
		f.add("directory", shmring.SeverityWarning, "raise --shm-size (docker) or the sizeLimit of the emptyDir (kubernetes)",
			"%s: %s", dir, room)
	default:
		f.ok("directory", "%s: %s", dir, room)
	}
}

// ring makes a ring, sends a message through it and removes it.
func (f *findings) ring(ctx context.Context, dir string) {
	name := fmt.Sprintf("doctor-%d", os.Getpid())
	o := &shmring.Options{Dir: dir, Mode: shmring.ModeCreateOnly, Slots: 8, MaxMessage: 64}
	info, err := tryRing(ctx, name, o)
	if err != nil {
		next := "see what it says; docs/OPERATIONS.md has the rest"
		if errors.Is(err, os.ErrPermission) {
			next = "use a directory that this user may write: -dir or $SHMRING_DIR"
		}
		f.add("ring", shmring.SeverityProblem, next, "%v", err)
		return
	}
	how := "made under no name (O_TMPFILE)"
	if !info.Applied.TmpFile {
		how = "made under a hidden name, because O_TMPFILE does not work"
	}
	f.ok("ring", "a message went through; %s, allocated by %s", how, info.Applied.Allocated)
	if info.Locks != shm.OFD.String() {
		f.add("locks", shmring.SeverityNote, "", "%s, on files beside the ring: %s", info.Locks, because(info.Applied.NoOFD))
	} else {
		f.ok("locks", "OFD: the kernel says who is alive")
	}
	f.ok("doorbell", "a new ring gets %v", info.Doorbell)
}

// sealed makes a ring without a name and takes a role in it.
func (f *findings) sealed(ctx context.Context) {
	s, err := shmring.NewSealed(ctx, "doctor", &shmring.Options{Slots: 8, MaxMessage: 64})
	if err == nil {
		var p *shmring.Producer
		if p, err = s.OpenProducer(ctx, nil); err == nil {
			err = p.Close()
		}
		err = errors.Join(err, s.Close())
	}
	if err != nil {
		f.add("sealed", shmring.SeverityNote, "", "rings without a name (NewSealed, -unix) do not work: %v", err)
		return
	}
	f.ok("sealed", "rings without a name work (NewSealed, -unix)")
}

// because is why something is not as one would have it.
func because(err error) string {
	if err != nil {
		return err.Error()
	}
	return "asked for by " + shm.EnvLocks
}

func tryRing(ctx context.Context, name string, o *shmring.Options) (info shmring.Info, err error) {
	p, err := shmring.OpenProducer(ctx, name, o)
	if err != nil {
		return info, err
	}
	defer func() {
		err = errors.Join(err, p.Close(), shmring.Remove(ctx, name, &shmring.AdminOptions{Dir: o.Dir}))
	}()
	info = p.Info()
	if err := p.TrySend([]byte("hello")); err != nil {
		return info, err
	}
	c, err := shmring.OpenConsumer(ctx, name, &shmring.Options{Dir: o.Dir, Mode: shmring.ModeOpenOnly})
	if err != nil {
		return info, err
	}
	var b [64]byte
	n, err := c.TryReceive(b[:])
	if err == nil && string(b[:n]) != "hello" {
		err = fmt.Errorf("received %q, sent hello", b[:n])
	}
	return info, errors.Join(err, c.Close())
}

// doorbells says how one can sleep here.
func (f *findings) doorbells() {
	for _, kind := range []layout.Doorbell{layout.Futex, layout.SysV} {
		if err := doorbell.Refused(kind); err != nil {
			f.add(kind.String(), shmring.SeverityWarning, "allow it (seccomp, container profile), or live with slower waking",
				"does not work: %v", err)
			continue
		}
		f.ok(kind.String(), "works")
	}
	if err := futex.VectorRefused(); err != nil {
		f.add("futex_waitv", shmring.SeverityNote, "", "does not work: ending a wait may take %v: %v", futex.Slice, err)
	} else {
		f.ok("futex_waitv", "works: contexts and Close end a wait at once")
	}
}

// barrier says what a message costs its producer.
func (f *findings) barrier() {
	if err := (membarrier.System{}).Fence(); err != nil {
		f.add("membarrier", shmring.SeverityNote, "", "does not work, so each message takes a full barrier, "+
			"some nanoseconds: %v", err)
		return
	}
	f.ok("membarrier", "works: a producer that has sent 64 KiB does without a full barrier for each message")
}

// inotify wakes parked sleepers, and those who wait for a ring to be created.
func (f *findings) inotify() {
	const limits = "/proc/sys/fs/inotify/max_user_"
	instances, watches := number(limits+"instances"), number(limits+"watches")
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		f.add("inotify", shmring.SeverityWarning, "raise fs.inotify.max_user_instances", "no instance is left of %d: who "+
			"waits for a ring looks twice a second, and parked sleepers take a thread each: %v", instances, err)
		return
	}
	_ = unix.Close(fd)
	f.ok("inotify", "works; %d instances and %d watches for each user", instances, watches)
}

// number reads a file with a number in it; -1: it cannot.
func number(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return -1
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return -1
	}
	return n
}

func (f *findings) memlock() {
	var r unix.Rlimit
	size, _ := new(shmring.Options).Size()
	switch err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r); {
	case err != nil:
		f.add("memlock", shmring.SeverityNote, "", "not known: %v", err)
	case os.Geteuid() == 0 || r.Cur >= uint64(size):
		f.ok("memlock", "Options.Mlock works for a ring of the default size")
	default:
		f.add("memlock", shmring.SeverityNote, "", "%s may be locked: Options.Mlock would be refused for a default ring "+
			"(ulimit -l, LimitMEMLOCK=)", cli.Size(float64(r.Cur)))
	}
}

func (f *findings) seccomp() {
	switch mode := host.Field("/proc/self/status", "Seccomp:"); mode {
	case "0":
		f.ok("seccomp", "no filter")
	case "2":
		f.add("seccomp", shmring.SeverityNote, "", "a filter is set: what it refuses is said above, and has a fallback")
	default:
		f.add("seccomp", shmring.SeverityNote, "", "mode %q", mode)
	}
}

// processors says whether spinning can pay.
func (f *findings) processors() {
	n := host.Processors()
	quota, limited := host.Quota()
	switch {
	case limited && quota < 2:
		f.add("cpu", shmring.SeverityWarning, "raise cpu.max, or use -wait sleep (WaitSleep)", "%d processors, and the "+
			"control group allows %.2g: who spins takes that from its peer", n, quota)
	case n < 2:
		f.add("cpu", shmring.SeverityNote, "", "one processor: nobody spins, each message costs a switch")
	case limited:
		f.ok("cpu", "%d processors, and the control group allows %.3g", n, quota)
	default:
		f.ok("cpu", "%d processors, no limit of the control group", n)
	}
}

func (f *findings) hugePages() {
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/shmem_enabled")
	if err != nil {
		f.add("hugepages", shmring.SeverityNote, "", "not known: %v", err)
		return
	}
	_, rest, _ := strings.Cut(string(text), "[")
	mode, _, _ := strings.Cut(rest, "]")
	f.ok("hugepages", "transparent huge pages for shared memory: %s", mode)
}

// firstUser is the first uid of ordinary users, on most systems.
const firstUser = 1000

// removeIPC says whether logging out takes rings away.
func (f *findings) removeIPC() {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		f.ok("RemoveIPC", "systemd does not run here")
		return
	}
	uid := os.Geteuid()
	if uid < firstUser {
		f.ok("RemoveIPC", "does not concern uid %d: it is no ordinary user", uid)
		return
	}
	var conf []string
	for _, dir := range []string{"/usr/lib/systemd", "/etc/systemd", "/run/systemd"} {
		files, _ := filepath.Glob(dir + "/logind.conf.d/*.conf")
		for _, file := range append([]string{dir + "/logind.conf"}, files...) {
			text, _ := os.ReadFile(file)
			conf = append(conf, string(text))
		}
	}
	if removesIPC(conf) && where("") == shm.DefaultDir {
		f.add("RemoveIPC", shmring.SeverityWarning, "run as a system user, use a directory below /run, or set "+
			"RemoveIPC=no in logind.conf", "systemd removes the rings of uid %d in %s when it logs out", uid, shm.DefaultDir)
		return
	}
	f.ok("RemoveIPC", "rings stay when their user logs out")
}

// removesIPC reads configuration files, the last of which wins.
func removesIPC(conf []string) bool {
	removes := true
	for _, text := range conf {
		for line := range strings.Lines(text) {
			if value, is := strings.CutPrefix(strings.ReplaceAll(strings.TrimSpace(line), " ", ""), "RemoveIPC="); is {
				removes = value == "yes" || value == "1" || value == "true" || value == "on"
			}
		}
	}
	return removes
}

// namespaces says what is seen of processes in other containers.
func (f *findings) namespaces() {
	pid, _ := os.Readlink("/proc/self/ns/pid")
	ipc, _ := os.Readlink("/proc/self/ns/ipc")
	if _, err := os.ReadFile("/proc/locks"); err != nil {
		f.add("namespaces", shmring.SeverityNote, "", "%s, %s; inspect cannot tell who has a ring open: %v", pid, ipc, err)
		return
	}
	f.ok("namespaces", "%s, %s; inspect can tell who has a ring open", pid, ipc)
}
