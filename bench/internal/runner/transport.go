// Package runner knows the transports and runs them: it makes what they need, starts
// their workers, and leaves nothing behind.
package runner

import (
	"slices"

	"github.com/shmring/shmring/bench/internal/link"
	"github.com/shmring/shmring/bench/internal/rival"
)

// Group is what kind of thing a transport is.
type Group string

const (
	Ours     Group = "shmring"
	Limit    Group = "limit"    // what the machine can do at best
	Cpp      Group = "C++"      // libraries in C and C++
	GoQueue  Group = "Go"       // within a Go process
	Kernel   Group = "kernel"   // what the system offers
	Textbook Group = "textbook" // what one would write in an afternoon
	Peer     Group = "peer"     // a program of -peers
)

// Where the two ends of a transport live.
const (
	Processes  = "processes"
	Threads    = "threads"
	Goroutines = "goroutines"
)

// Transport is one way to move messages.
type Transport struct {
	Name    string
	About   string
	Group   Group
	Where   string
	Works   []string
	Min     int // message in bytes
	Max     int
	Batches bool           // has a call for several messages
	Program *rival.Program // nil: this one
	Setup   string         // what has to be made first: a key of setups
	Absent  string         // why it cannot be measured anywhere
	Path    string         // of a peer's executable
}

const huge = 1 << 20

// RawRing is the name of the ring without guarantees.
const RawRing = "raw-c"

func cpp(source, pkg string, flags ...string) *rival.Program {
	return &rival.Program{Source: source, Package: pkg, Flags: flags}
}

var (
	pair  = []string{"rtt", "oneway", "stream", "mixed"}
	sleep = []string{"rtt", "oneway", "wake", "stream", "mixed"}
	spsc  = append(slices.Clone(pair), "batch")
	every = append(slices.Clone(sleep), "batch")
	fixed = []string{"rtt", "oneway", "stream"}
)

func and(works []string, more ...string) []string { return append(slices.Clone(works), more...) }

// Transports are all of them, in the order in which they are shown.
var Transports = []*Transport{
	{Name: "shmring", Group: Ours, Where: Processes, Max: huge, Batches: true, Works: and(every, "blocked"),
		About: "SPSC ring; Send and Receive, which copy; batches by SendBatch and Drain"},
	{Name: "shmring-zc", Group: Ours, Where: Processes, Max: huge, Batches: true,
		Works: []string{"stream", "batch", "mixed"},
		About: "SPSC ring in place: Claim and Next, batches by Batch and View; the receiver reads a word of every line"},
	{Name: "shmring-mpsc", Group: Ours, Where: Processes, Max: huge, Batches: true, Works: and(every, "blocked", "mpsc"),
		About: "MPSC ring; Send and Receive"},

	{Name: "shmring-try", Group: Ours, Where: Processes, Max: huge, Works: []string{"rtt", "stream"},
		About: "SPSC ring; TrySend and TryReceive in loops of the caller's, which do nothing else"},

	{Name: "shmring-default", Group: Ours, Where: Processes, Max: huge, Works: []string{"rtt", "stream"},
		About: "SPSC ring as one gets it who asks for nothing: spins for a while, then sleeps"},

	{Name: "raw-pingpong", Group: Limit, Where: Processes, Max: 1016, Works: []string{"rtt"},
		Program: cpp("raw_pingpong.cpp", ""),
		About:   "the lines of a message, of which the first word is stored last and polled, in C++"},
	{Name: "raw-pingpong-pause", Group: Limit, Where: Processes, Max: 1016, Works: []string{"rtt"},
		Program: cpp("raw_pingpong.cpp", "", "-DPAUSE"),
		About:   "the same with a PAUSE in each poll"},
	{Name: "raw-go", Group: Limit, Where: Processes, Max: 1016, Works: []string{"rtt"},
		About: "raw-pingpong with Go's atomics"},
	{Name: RawRing, Group: Limit, Where: Processes, Max: huge, Batches: true, Works: []string{"rtt", "stream", "batch"},
		Program: cpp("raw_ring.cpp", "", "-O3", rival.Native),
		About:   "a ring in C with every trick and no guarantee, for this processor: what the guarantees cost"},
	{Name: "raw-copy-4", Group: Limit, Where: Processes, Min: 1016, Max: huge, Works: []string{"stream"},
		Program: cpp("raw_copy.cpp", "", "-DBLOCKS=4"),
		About:   "four blocks in turn, copied in by one side and out by the other, by memcpy"},
	{Name: "raw-copy-2m", Group: Limit, Where: Processes, Min: 1016, Max: huge, Works: []string{"stream"},
		Program: cpp("raw_copy.cpp", "", "-DBLOCKS=0"),
		About:   "the same with blocks of 2 MiB in all, 8 of 1 MiB"},
	{Name: "raw-loop-4", Group: Limit, Where: Processes, Min: 1016, Max: huge, Works: []string{"stream"},
		Program: cpp("raw_copy.cpp", "", "-DBLOCKS=4", "-DLOOP", "-fno-tree-loop-distribute-patterns"),
		About:   "raw-copy-4 by a plain loop instead of memcpy"},
	{Name: "raw-loop-2m", Group: Limit, Where: Processes, Min: 1016, Max: huge, Works: []string{"stream"},
		Program: cpp("raw_copy.cpp", "", "-DBLOCKS=0", "-DLOOP", "-fno-tree-loop-distribute-patterns"),
		About:   "raw-copy-2m by a plain loop"},
	{Name: "futex", Group: Limit, Where: Processes, Max: 32, Works: []string{"blocked"}, Program: cpp("futex.cpp", ""),
		About: "a word, FUTEX_WAKE and FUTEX_WAIT, in C++"},

	{Name: "boost-spsc", Group: Cpp, Where: Processes, Max: huge, Batches: true, Works: spsc,
		Program: cpp("boost_spsc.cpp", "libboost-dev"),
		About:   "boost::lockfree::spsc_queue in shared memory"},
	{Name: "ck-ring", Group: Cpp, Where: Processes, Max: huge, Works: and(pair, "mpsc"), Program: cpp("ck_ring.cpp",
		"libck-dev"),
		About: "ConcurrencyKit ck_ring in shared memory"},
	{Name: "moodycamel-rwq", Group: Cpp, Where: Threads, Max: huge, Works: pair, Program: cpp("moodycamel_rwq.cpp",
		"libreaderwriterqueue-dev"),
		About: "moodycamel::ReaderWriterQueue; it cannot live in shared memory"},
	{Name: "moodycamel-cq", Group: Cpp, Where: Threads, Max: huge, Batches: true, Works: and(spsc, "mpsc"),
		Program: cpp("moodycamel_cq.cpp", "libconcurrentqueue-dev"),
		About:   "moodycamel::ConcurrentQueue with tokens; it cannot live in shared memory"},
	{Name: "boost-mq", Group: Cpp, Where: Processes, Max: huge, Works: and(sleep, "mpsc"), Program: cpp("boost_mq.cpp",
		"libboost-dev"), Setup: "prefix",
		About: "boost::interprocess::message_queue"},
	{Name: "zeromq", Group: Cpp, Where: Processes, Max: huge, Works: and(sleep, "mpsc"), Program: cpp("zeromq.cpp",
		"libzmq3-dev", "-lzmq"),
		About: "ZeroMQ PUSH/PULL over ipc"},
	{Name: "nng", Group: Cpp, Where: Processes, Max: huge, Works: and(sleep, "mpsc"), Program: cpp("nng.cpp",
		"libnng-dev", "-lnng"),
		About: "nng push/pull over ipc"},

	{Name: "mutex-ring", Group: Textbook, Where: Processes, Max: huge, Works: and(sleep, "mpsc"),
		Program: cpp("mutex_ring.cpp", ""),
		About:   "bounded buffer under a process-shared mutex with condition variables"},
	{Name: "sysv-shm", Group: Textbook, Where: Processes, Max: huge, Works: and(sleep, "mpsc"),
		Program: cpp("sysv_shm.cpp", ""), Setup: "sysv-shm",
		About: "SysV segment and semaphores"},
	{Name: "mmap-flock", Group: Textbook, Where: Processes, Max: huge, Works: and(pair, "mpsc"),
		Program: cpp("mmap_flock.cpp", ""),
		About:   "mapped file under flock, polled"},

	{Name: "go-chan", Group: GoQueue, Where: Goroutines, Max: link.LargestValue, Works: and(fixed, "wake", "mpsc"),
		About: "buffered Go channel of arrays"},
	{Name: "xsync-spsc", Group: GoQueue, Where: Goroutines, Max: link.LargestValue, Works: fixed,
		About: "puzpuzpuz/xsync SPSCQueue"},
	{Name: "xsync-mpmc", Group: GoQueue, Where: Goroutines, Max: link.LargestValue, Works: and(fixed, "mpsc"),
		About: "puzpuzpuz/xsync MPMCQueue"},
	{Name: "go-disruptor", Group: GoQueue, Where: Goroutines,
		Absent: "the module proxy does not serve it (smarty/go-disruptor and its former names), so no module can require it",
		About:  "smarty/go-disruptor"},

	{Name: "pipe", Group: Kernel, Where: Processes, Max: huge, Batches: true, Works: every, Setup: "pipe",
		About: "os.Pipe as package os has it"},
	{Name: "pipe-sys", Group: Kernel, Where: Processes, Max: huge, Batches: true, Works: and(every, "mpsc"), Setup: "pipe",
		About: "the same by blocking system calls, without the runtime's poller"},
	{Name: "fifo", Group: Kernel, Where: Processes, Max: huge, Batches: true, Works: every, Setup: "fifo",
		About: "named pipe as package os has it"},
	{Name: "unix", Group: Kernel, Where: Processes, Max: huge, Batches: true, Works: every, Setup: "unix",
		About: "Unix stream socket as package net has it"},
	{Name: "unix-sys", Group: Kernel, Where: Processes, Max: huge, Batches: true, Works: every, Setup: "unix",
		About: "the same by blocking system calls"},
	{Name: "seqpacket", Group: Kernel, Where: Processes, Max: 65528, Works: and(sleep, "mpsc"), Setup: "seqpacket",
		About: "Unix seqpacket socket as package net has it"},
	{Name: "tcp", Group: Kernel, Where: Processes, Max: huge, Batches: true, Works: every, Setup: "tcp",
		About: "TCP over loopback as package net has it, without Nagle's algorithm"},
	{Name: "mq", Group: Kernel, Where: Processes, Max: 4088, Works: and(sleep, "mpsc"), Setup: "mq",
		About: "POSIX message queue, ten messages as the system allows"},
	{Name: "sysv-mq", Group: Kernel, Where: Processes, Max: 4088, Works: and(sleep, "mpsc"), Setup: "sysv-mq",
		About: "SysV message queue"},
}

// Find returns the transport of a name, or nil.
func Find(name string) *Transport {
	for _, t := range Transports {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// Does tells whether the transport can do a work with messages of a size. mpsc over a
// pipe needs writes that are atomic.
func (t *Transport) Does(work string, size int) bool {
	if work == "mixed" {
		size = 4088
	}
	if t.Name == "pipe-sys" && work == "mpsc" && size > 4088 {
		return false
	}
	return t.Absent == "" && slices.Contains(t.Works, work) && size >= t.Min && size <= t.Max
}

// Sleeps tells whether those who wait sleep in the kernel also when the work does not
// ask for that.
func (t *Transport) Sleeps() bool { return slices.Contains(t.Works, "wake") && t.Group != Ours }
