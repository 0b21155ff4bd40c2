package shmring

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processes finds those who have written down who they are.
type processes struct {
	elsewhere map[namespacedPID]int // our number of those in other PID namespaces; nil: not looked yet
}

type namespacedPID struct {
	namespace uint64
	pid       int
}

// find returns the number that a process has here, which it has in its own PID namespace, and what
// it does. 0: it has none, or that is not known.
func (p *processes) find(pid int, started, bootID, namespace uint64) (here int, state ProcessState) {
	own := processIdentity()
	switch {
	case pid <= 0 || own.PIDNamespace == 0:
		return 0, ProcessUnknown
	case bootID != own.BootID && bootID != 0 && own.BootID != 0:
		return 0, ProcessGone
	case namespace == own.PIDNamespace:
		return pid, stateOf(pid, started)
	}
	// The number means another process here, or none.
	if p.elsewhere == nil {
		p.elsewhere = processesElsewhere(own.PIDNamespace)
	}
	here = p.elsewhere[namespacedPID{namespace, pid}]
	if here == 0 {
		return 0, ProcessUnknown
	}
	if state = stateOf(here, started); state == ProcessGone {
		return 0, ProcessUnknown
	}
	return here, state
}

// processesElsewhere are the processes of PID namespaces below ours. Who may not look into them
// sees none.
func processesElsewhere(own uint64) map[namespacedPID]int {
	found := map[namespacedPID]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return found
	}
	for _, e := range entries {
		here, err := strconv.Atoi(e.Name())
		var ns unix.Stat_t
		if err != nil || unix.Stat("/proc/"+e.Name()+"/ns/pid", &ns) != nil || ns.Ino == own {
			continue
		}
		status, err := os.ReadFile("/proc/" + e.Name() + "/status")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(status), "\nNSpid:")
		line, _, _ := strings.Cut(rest, "\n")
		// From our namespace inwards: the last is what it calls itself.
		if numbers := strings.Fields(line); len(numbers) > 1 {
			if pid, err := strconv.Atoi(numbers[len(numbers)-1]); err == nil {
				found[namespacedPID{ns.Ino, pid}] = here
			}
		}
	}
	return found
}

// stateOf looks what the process does that has a number here, and began then.
func stateOf(pid int, started uint64) ProcessState {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if os.IsNotExist(err) {
		if _, err := os.Stat("/proc/self/stat"); err != nil {
			return ProcessUnknown
		}
		return ProcessGone
	}
	// The name in parentheses may contain anything; field 3 follows the last one.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if err != nil || len(fields) < 20 {
		return ProcessUnknown
	}
	if since, _ := strconv.ParseUint(string(fields[19]), 10, 64); started != 0 && since != started {
		return ProcessGone // another process has its number by now
	}
	switch fields[0][0] {
	case 'T', 't':
		return ProcessStopped
	case 'Z', 'X':
		return ProcessZombie
	}
	return ProcessThere
}
