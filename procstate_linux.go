package shmring

import (
	"bytes"
	"os"
	"strconv"
)

// processState looks what a process does, which has written down who it is: see ProcessState.
func processState(pid int, started, bootID, namespace uint64) ProcessState {
	own := processIdentity()
	switch {
	case pid <= 0:
		return ProcessUnknown
	case bootID != own.BootID && bootID != 0 && own.BootID != 0:
		return ProcessGone
	case namespace != own.PIDNamespace || own.PIDNamespace == 0:
		return ProcessUnknown // the number means another process here, or none
	}
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
