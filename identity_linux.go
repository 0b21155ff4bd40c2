package shmring

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/ring"
)

// processIdentity describes this process for people. What cannot be found out stays 0.
var processIdentity = sync.OnceValue(func() ring.ProcessIdentity {
	w := ring.ProcessIdentity{PID: uint32(os.Getpid())}
	if stat, err := os.ReadFile("/proc/self/stat"); err == nil {
		// The name in parentheses may contain anything; field 3 follows the last one.
		if fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(fields) > 19 {
			w.Started, _ = strconv.ParseUint(string(fields[19]), 10, 64)
		}
	}
	if id, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		hex := strings.ReplaceAll(string(id), "-", "")
		w.BootID, _ = strconv.ParseUint(hex[:min(16, len(hex))], 16, 64)
	}
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &st) == nil {
		w.PIDNamespace = st.Ino
	}
	return w
})
