package cleaner

import (
	"os/exec"
	"syscall"
)

// ownGroup keeps a process out of what is sent to the group of this one.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
