package main

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shmring/shmring/internal/seccomp"
)

// Kernel constants that x/sys lacks.
const (
	futexPrivate  = 128 // linux/futex.h
	offsetNumber  = 0   // of struct seccomp_data
	offsetFutexOp = 16 + 8
)

// refusing lists, by the words that a filter's text may have, the calls that are
// refused; futex means those on shared memory, and leaves the Go runtime its own.
var refusing = map[string][]uint32{
	"waitv":   {unix.SYS_FUTEX_WAITV},
	"futex":   {unix.SYS_FUTEX},
	"sysv":    sysvCalls,
	"inotify": {unix.SYS_INOTIFY_INIT1},
}

// filter is a program for the kernel that refuses what the words of a text say.
func filter(words string, errno unix.Errno) (program []unix.SockFilter, err error) {
	stmt := func(code uint16, k uint32) {
		program = append(program, unix.SockFilter{Code: code, K: k})
	}
	refuse := uint32(unix.SECCOMP_RET_ERRNO) | uint32(errno)
	load := func(offset uint32) { stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset) }
	for word := range strings.FieldsSeq(words) {
		if refusing[word] == nil {
			return nil, fmt.Errorf("nothing is called %q", word)
		}
		for _, number := range refusing[word] {
			if number != unix.SYS_FUTEX {
				program = append(program, seccomp.Refusal(errno, number)...)
				continue
			}
			load(offsetNumber)
			program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 3, K: number})
			load(offsetFutexOp) // the low half, on little-endian machines
			program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 1, K: futexPrivate})
			stmt(unix.BPF_RET|unix.BPF_K, refuse)
		}
	}
	stmt(unix.BPF_RET|unix.BPF_K, unix.SECCOMP_RET_ALLOW)
	return program, nil
}
