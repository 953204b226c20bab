package harness

import "syscall"

// dieWithParent makes a child end when the test process ends, even by a kill or a timeout's panic.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
