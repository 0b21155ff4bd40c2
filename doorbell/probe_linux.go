package doorbell

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sysvRefused tells why SysV semaphores do not work here. The answer is found once.
var sysvRefused = sync.OnceValue(trySysV)

// The set that is tried has an unusual number of semaphores, and its key begins with
// "sh" in ASCII.
const (
	trialKey  = 0x73680000
	trialSize = 3
)

// trySysV makes, uses and removes a set. All processes of a user try the same one, so
// that who is killed meanwhile leaves at most one, which the next one removes. So others
// may move its values, or remove it, which is no reason to complain.
func trySysV() error {
	id, e := sys.get(int32(trialKey|unix.Geteuid()&0xffff), trialSize, unix.IPC_CREAT|0o600)
	larger := false
	if e == 0 {
		_, none := sys.ctl(id, trialSize, cmdGetVal, 0)
		larger = none == 0
	}
	if larger || e == unix.EACCES || e == unix.EINVAL { // somebody else's
		id, e = sys.get(unix.IPC_PRIVATE, trialSize, unix.IPC_CREAT|0o600)
	}
	if e != 0 {
		return fmt.Errorf("semget: %w", e)
	}
	defer sys.ctl(id, 0, unix.IPC_RMID, 0)
	for _, value := range []int{1, 0} {
		if _, e := sys.ctl(id, 0, cmdSetVal, value); tells(e) {
			return fmt.Errorf("semctl: %w", e)
		}
		if e := sys.wait(id, 0, time.Microsecond); tells(e) {
			return fmt.Errorf("semtimedop: %w", e)
		}
	}
	return nil
}

// tells reports whether the error says something about the system.
func tells(e unix.Errno) bool {
	switch e {
	case 0, unix.EAGAIN, unix.EINTR, unix.EIDRM, unix.EINVAL:
		return false
	}
	return true
}
