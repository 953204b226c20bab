package harness

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// socketOwner finds, among processes, the one that holds the client's end of a connection on this machine; -1 if
// none does. It reads Linux's /proc: the table of connections names the socket, and the processes' open files
// name who holds it.
func socketOwner(client, server net.Addr, pids []int) int {
	inode := socketInode(client, server)
	if inode == "" {
		return -1
	}
	want := "socket:[" + inode + "]"
	for i, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		files, err := os.ReadDir(dir)
		if err != nil {
			continue // the process has just ended
		}
		for _, f := range files {
			if name, err := os.Readlink(filepath.Join(dir, f.Name())); err == nil && name == want {
				return i
			}
		}
	}
	return -1
}

// socketInode is the number of the socket that is bound to client and connected to server.
func socketInode(client, server net.Addr) string {
	from, to := procAddr(client), procAddr(server)
	file, err := os.Open("/proc/net/tcp")
	if err != nil {
		return ""
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) > 9 && f[1] == from && f[2] == to {
			return f[9]
		}
	}
	return ""
}

// procAddr spells an IPv4 address as the kernel's table does: the address as a number in the machine's byte order.
func procAddr(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp.IP.To4() == nil {
		return ""
	}
	var native [4]byte
	binary.BigEndian.PutUint32(native[:], binary.NativeEndian.Uint32(tcp.IP.To4()))
	return fmt.Sprintf("%s:%04X", strings.ToUpper(hex.EncodeToString(native[:])), tcp.Port)
}
