package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dragPoll is how long the watch over a process waits before it looks whether it shall end, in milliseconds.
const dragPoll = 100

// drag slows the syncs of one process at a time, whatever program it is: the kernel tells us of each (seccomp's user
// notification) and lets it begin when we say so. Reads and writes go on as ever, as they do in front of a disk that
// is slow to sync. A process keeps its drag for life; without a delay a sync costs it a turn of a few microseconds.
type drag struct {
	delay  atomic.Int64 // of each sync, a time.Duration
	slowed atomic.Int64 // syncs that were
}

// slow sets by how much each sync is slowed from now on.
func (d *drag) slow(by time.Duration) { d.delay.Store(int64(by)) }

// The kernel's structures for a notification and its answer (struct seccomp_notif and seccomp_notif_resp).
type (
	syncNotice struct {
		id         uint64
		pid, flags uint32
		number     int32
		arch       uint32
		pointer    uint64
		args       [6]uint64
	}
	syncAnswer struct {
		id     uint64
		value  int64
		failed int32
		flags  uint32
	}
)

// start starts a command that was not started yet, under the drag. The watch over it ends when the process does.
func (d *drag) start(cmd *exec.Cmd) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the benchmark's own program: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make a pair of sockets: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer func() { _ = ours.Close() }()
	cmd.Args = append([]string{self, dragWord, cmd.Path}, cmd.Args[1:]...)
	cmd.Path, cmd.ExtraFiles = self, []*os.File{theirs}
	err = cmd.Start()
	_ = theirs.Close() // the process has its own copy, and its death shall be seen
	if err != nil {
		return err
	}
	notices, err := receiveFile(ours)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return fmt.Errorf("slow the syncs of a process: %w", err)
	}
	go d.watch(notices)
	return nil
}

// receiveFile takes the one file that the other end of a socket sends.
func receiveFile(socket *os.File) (int, error) {
	space := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(socket.Fd()), make([]byte, 1), space, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("receive a file: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(space[:n])
	if err != nil {
		return 0, fmt.Errorf("receive a file: %w", err)
	}
	if len(messages) != 1 {
		return 0, errors.New("receive a file: the process ended without sending one; its log says why")
	}
	files, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, fmt.Errorf("receive a file: %w", err)
	}
	return files[0], nil
}

// watch answers the notices of one process until it has ended.
func (d *drag) watch(notices int) {
	var answers sync.WaitGroup
	defer func() {
		answers.Wait()
		_ = unix.Close(notices)
	}()
	for {
		ready := []unix.PollFd{{Fd: int32(notices), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, dragPoll)
		if errors.Is(err, unix.EINTR) || err == nil && n == 0 {
			continue
		}
		if err != nil || ready[0].Revents&unix.POLLIN == 0 {
			return // nobody is left who could sync
		}
		notice := &syncNotice{}
		if err := control(notices, unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(notice)); err != nil {
			continue // it was killed in the meantime
		}
		delay := time.Duration(d.delay.Load())
		if delay == 0 {
			letGo(notices, notice.id)
			continue
		}
		d.slowed.Add(1)
		answers.Go(func() {
			time.Sleep(delay)
			letGo(notices, notice.id)
		})
	}
}

// letGo lets a sync begin. That its process is gone is no news.
func letGo(notices int, id uint64) {
	answer := &syncAnswer{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	_ = control(notices, unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(answer))
}

func control(file int, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(file), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
