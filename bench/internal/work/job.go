package work

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Job is what one worker does.
type Job struct {
	Transport string
	Work      string
	Role      string // send, recv, ping, echo; all: every one of them
	Dir       string // of our own, for files
	Size      int
	Batch     int
	Producers int
	Index     int           // of a sender
	For       time.Duration // how long to send
	Count     int           // how many to send instead
	Pace      time.Duration // between messages of oneway and wake
	Verify    bool
	Timeout   time.Duration // after which the worker ends itself
	CPUs      []int         // of the worker; of role all: of each in turn; -1 or none: any
	Born      bool          // processes are on their processors from their birth; no argument
	Peer      bool          // of a program of somebody else's; no argument
	Shm, Sem  int           // ids of SysV objects
	Queues    []int         // ids of SysV message queues
}

// Trips tells whether the work goes there and back.
func (j *Job) Trips() bool { return j.Work == "rtt" || j.Work == "blocked" }

// Paced tells whether messages carry the time.
func (j *Job) Paced() bool { return j.Work == "oneway" || j.Work == "wake" }

// Many tells whether the transport has to cope with several senders.
func (j *Job) Many() bool { return j.Producers > 1 || j.Work == "mpsc" }

// MaxSize is the longest message of the work.
func (j *Job) MaxSize() int { return max(j.Size, 8) }

// Args is the job as arguments.
func (j *Job) Args() []string {
	list := func(ns []int) string {
		var s []string
		for _, n := range ns {
			s = append(s, strconv.Itoa(n))
		}
		return strings.Join(s, ",")
	}
	verify := 0
	if j.Verify {
		verify = 1
	}
	return []string{
		"transport=" + j.Transport, "work=" + j.Work, "role=" + j.Role, "dir=" + j.Dir,
		fmt.Sprintf("size=%d", j.Size), fmt.Sprintf("batch=%d", j.Batch), fmt.Sprintf("producers=%d", j.Producers),
		fmt.Sprintf("index=%d", j.Index), fmt.Sprintf("for=%d", j.For), fmt.Sprintf("count=%d", j.Count),
		fmt.Sprintf("pace=%d", j.Pace), fmt.Sprintf("verify=%d", verify),
		fmt.Sprintf("timeout=%d", int(j.Timeout.Seconds()+0.999)),
		"cpus=" + list(j.CPUs), fmt.Sprintf("shm=%d", j.Shm), fmt.Sprintf("sem=%d", j.Sem), "queues=" + list(j.Queues),
	}
}

// Parse is the reverse of Args.
func Parse(args []string) (*Job, error) {
	j := &Job{}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "transport":
			j.Transport = value
			continue
		case "work":
			j.Work = value
			continue
		case "role":
			j.Role = value
			continue
		case "dir":
			j.Dir = value
			continue
		}
		var ns []int
		for s := range strings.SplitSeq(value, ",") {
			if s == "" {
				continue
			}
			n, err := strconv.Atoi(s)
			if err != nil {
				return nil, fmt.Errorf("argument %s: %w", arg, err)
			}
			ns = append(ns, n)
		}
		n := 0
		if len(ns) > 0 {
			n = ns[0]
		}
		switch key {
		case "size":
			j.Size = n
		case "batch":
			j.Batch = n
		case "producers":
			j.Producers = n
		case "index":
			j.Index = n
		case "for":
			j.For = time.Duration(n)
		case "count":
			j.Count = n
		case "pace":
			j.Pace = time.Duration(n)
		case "verify":
			j.Verify = n != 0
		case "timeout":
			j.Timeout = time.Duration(n) * time.Second
		case "cpus":
			j.CPUs = ns
		case "shm":
			j.Shm = n
		case "sem":
			j.Sem = n
		case "queues":
			j.Queues = ns
		default:
			return nil, fmt.Errorf("argument %s: no such key", arg)
		}
	}
	return j, nil
}

// Result is what one worker found.
type Result struct {
	Role           string     `json:"role"`
	Messages       uint64     `json:"messages"`        // sent or received, all of them
	WindowMessages uint64     `json:"window_messages"` // received in the measured time
	WindowNs       int64      `json:"window_ns"`
	WindowBytes    uint64     `json:"window_bytes"`
	Shares         []uint64   `json:"shares,omitempty"`      // of the window's messages, by sender
	Times          [][2]int64 `json:"times,omitempty"`       // nanoseconds, and how often
	Per            int        `json:"per"`                   // messages that each of the times is of; 0: one
	BlockTimes     [][2]int64 `json:"block_times,omitempty"` // of trips: nanoseconds of Block together, and how often
	Block          int        `json:"block,omitempty"`
	CPUNs          int64      `json:"cpu_ns"`
	Switches       int64      `json:"switches"` // of context
	Mallocs        uint64     `json:"mallocs"`  // of Go
	Numbers        []float64  `json:"numbers,omitempty"`
}
