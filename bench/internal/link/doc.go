// Package link has the transports that are written in Go: shmring itself, what the
// kernel offers, and queues within a process.
package link

import "github.com/shmring/shmring/bench/internal/work"

// Opens has every transport by its name.
var Opens = map[string]work.Open{
	"shmring":         openRing(false, false),
	"shmring-zc":      openRing(false, true),
	"shmring-mpsc":    openRing(true, false),
	"shmring-try":     openRing(false, false),
	"shmring-default": openRing(false, false),
	"raw-go":          openRaw,
	"pipe":            openFile,
	"fifo":            openFile,
	"unix":            openConn,
	"seqpacket":       openPacket,
	"tcp":             openConn,
	"pipe-sys":        openSys,
	"unix-sys":        openSys,
	"mq":              openMQ,
	"sysv-mq":         openSysV,
	"go-chan":         openChan,
	"xsync-spsc":      openSPSC,
	"xsync-mpmc":      openMPMC,
}

// Slots is how many messages a transport of ours has room for where it can choose: as
// many as a ring of default size. Package rival/src has the same rule.
func Slots(size int) int {
	n := 8
	for n < 8192 && n*2*size <= 2<<20 {
		n *= 2
	}
	return n
}
