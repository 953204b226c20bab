//go:build !linux

package harness

import "syscall"

// dieWithParent has no equivalent outside Linux; the tests' cleanups end their processes there.
func dieWithParent() *syscall.SysProcAttr { return nil }
