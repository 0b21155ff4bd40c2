package relay

import (
	"fmt"
	"os"
)

// notes is a file in which a relay notes what it is about to do, mapped, beside the ring. Ring and notes are
// memory of the same kernel: what a process has stored in either is there when it is killed, and both are
// gone when the machine stops. Only the holder of the file's flock reads or writes it.
//
//	0  magic    16  ring's UUID
//	8  version  32  created: of the stream, in nanoseconds since 1970
type notes struct {
	path   string
	file   *os.File
	memory []byte
}

const atMagic, atVersion, atRing, atCreated = 0, 8, 16, 32

func (n *notes) setRing(uuid [16]byte) { copy(n.memory[atRing:atRing+16], uuid[:]) }

func (n *notes) isRing(uuid [16]byte) bool { return [16]byte(n.memory[atRing:atRing+16]) == uuid }

type busyMark struct{ path string }

func (e busyMark) Error() string {
	return fmt.Sprintf("relay: %s: another relay has it: each needs a durable name of its own, or a mark directory",
		e.path)
}
func (e busyMark) Is(target error) bool { return target == ErrBusy }
