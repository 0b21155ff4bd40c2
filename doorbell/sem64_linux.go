//go:build linux && !(386 || arm || mips || mipsle || ppc)

package doorbell

import "golang.org/x/sys/unix"

// semtimedop with a timespec of two 64-bit numbers.
const sysSemtimedop = unix.SYS_SEMTIMEDOP
