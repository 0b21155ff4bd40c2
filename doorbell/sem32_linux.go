//go:build linux && (386 || arm || mips || mipsle || ppc)

package doorbell

import "golang.org/x/sys/unix"

// semtimedop with a timespec of two 64-bit numbers (Linux 5.1).
const sysSemtimedop = unix.SYS_SEMTIMEDOP_TIME64
