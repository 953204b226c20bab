//go:build unix

package config

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// duplicate opens a second descriptor for the same file. It goes through
// SyscallConn because Fd would switch a non-blocking file to blocking.
func duplicate(file *os.File) (io.WriteCloser, error) {
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	var second int
	var dupErr error
	if err := conn.Control(func(fd uintptr) {
		second, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 3)
	}); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, os.NewSyscallError("fcntl", dupErr)
	}
	return os.NewFile(uintptr(second), file.Name()), nil
}
