package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dragWord is the first argument that turns this program into the one that puts a process under a drag. It is for the
// benchmark itself and not for people.
const dragWord = "under-drag"

// dragSocket is the file on which the process that goes under a drag finds the socket to its starter.
const dragSocket = 3

// dragged are the calls that a slow disk would hold up.
var dragged = [...]uint32{
	unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC_FILE_RANGE, unix.SYS_MSYNC, unix.SYS_SYNC, unix.SYS_SYNCFS,
}

// execDragged becomes the program in the arguments, whose syncs the starter is told of from then on. It comes back only
// with an error.
func execDragged(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("put a process under a drag: no program is given")
	}
	// A filter belongs to a thread, and it is the thread that calls exec that lives on.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("put a process under a drag: give up new privileges: %w", err)
	}
	notices, err := installFilter()
	if err != nil {
		return fmt.Errorf("put a process under a drag: %w; the kernel has to know seccomp's user notification", err)
	}
	if err := unix.Sendmsg(dragSocket, []byte{0}, unix.UnixRights(notices), nil, 0); err != nil {
		return fmt.Errorf("put a process under a drag: hand over the notices: %w", err)
	}
	unix.CloseOnExec(dragSocket)
	return fmt.Errorf("become %s: %w", arguments[0], unix.Exec(arguments[0], arguments, os.Environ()))
}

// installFilter makes the kernel hold the dragged calls of this thread and of all that come from it, and returns the
// file that tells of them. A call that we know of waits for us even when a signal arrives: it would begin anew
// otherwise, and its delay with it.
func installFilter() (int, error) {
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // the call's number
	for i, call := range dragged {
		filter = append(filter, unix.SockFilter{
			Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jt: uint8(len(dragged) - i),
		})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	const flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	notices, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags,
		uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return 0, fmt.Errorf("install a filter: %w", errno)
	}
	return int(notices), nil
}
