package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sectorSize is the unit of /proc/diskstats in bytes, whatever the device's own sectors are.
const sectorSize = 512

// diskWritten flushes the filesystem under dir and returns the bytes its device has written so far, for
// anybody. The kernel's count for one process (write_bytes) cannot stand in for it: it counts a whole run
// of cached pages when one byte of it is overwritten, so a server that overwrites a prepared log would
// seem to write a hundred times what reaches the disk.
func diskWritten(dir string) (int64, error) {
	file, err := os.Open(dir)
	if err != nil {
		return 0, fmt.Errorf("find the disk: %w", err)
	}
	defer func() { _ = file.Close() }()
	if err := unix.Syncfs(int(file.Fd())); err != nil {
		return 0, fmt.Errorf("flush the disk: %w", err)
	}
	var facts unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &facts); err != nil {
		return 0, fmt.Errorf("find the disk: %w", err)
	}
	data, err := os.ReadFile("/proc/diskstats")
	if err != nil {
		return 0, fmt.Errorf("read disk facts: %w", err)
	}
	return parseDisks(string(data), unix.Major(facts.Dev), unix.Minor(facts.Dev))
}

// parseDisks finds a device's line and reads its sectors written: major, minor, name, then reads, merged,
// sectors, time, writes, merged, sectors.
func parseDisks(text string, major, minor uint32) (int64, error) {
	device := []string{strconv.Itoa(int(major)), strconv.Itoa(int(minor))}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[0] != device[0] || fields[1] != device[1] {
			continue
		}
		sectors, err := strconv.ParseInt(fields[9], 10, 64)
		return sectors * sectorSize, err
	}
	return 0, fmt.Errorf("read disk facts: device %d:%d is not a disk of its own", major, minor)
}
