package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of the times in /proc/<pid>/stat. It has been 10 ms for user space on every
// Linux architecture Go runs on.
const clockTick = 10 * time.Millisecond

// cpuTime returns the processor time of a process with all its threads, the ended ones included.
func cpuTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return parseStat(data)
}

// parseStat reads utime and stime, fields 14 and 15. The second field, the command in parentheses, may hold
// spaces, so counting starts behind it.
func parseStat(data []byte) (time.Duration, error) {
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("read processor time: %d fields", len(fields))
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	if errUser != nil || errSystem != nil {
		return 0, fmt.Errorf("read processor time: not numbers: %q %q", fields[11], fields[12])
	}
	return time.Duration(user+system) * clockTick, nil
}

// ownCPUTime returns the processor time of the benchmark itself, which is the client.
func ownCPUTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0 // cannot fail for RUSAGE_SELF
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// bytesWritten returns how many bytes a process caused to be written to the disk, counted when it dirties
// the page.
func bytesWritten(pid int) (int64, error) {
	return procNumber(fmt.Sprintf("/proc/%d/io", pid), "write_bytes:")
}

// memory is what a process occupies, in bytes. Resident is the sum of Anon, File and shared memory.
type memory struct {
	Resident, Anon, File int64
}

// residentMemory reads the resident memory of a process.
func residentMemory(pid int) (memory, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	resident, errResident := procNumber(path, "VmRSS:")
	anon, errAnon := procNumber(path, "RssAnon:")
	file, errFile := procNumber(path, "RssFile:")
	for _, err := range []error{errResident, errAnon, errFile} {
		if err != nil {
			return memory{}, err
		}
	}
	return memory{Resident: resident << 10, Anon: anon << 10, File: file << 10}, nil
}

// procNumber finds the line with the given label in a /proc file and returns its number.
func procNumber(path, label string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read process facts: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		rest, found := strings.CutPrefix(line, label)
		if !found {
			continue
		}
		if fields := strings.Fields(rest); len(fields) > 0 {
			return strconv.ParseInt(fields[0], 10, 64)
		}
	}
	return 0, fmt.Errorf("read process facts: %s has no %s", path, label)
}

// machineTime is what all processors together have done since the machine started.
type machineTime struct {
	busy, stolen, all time.Duration
}

// readMachineTime reads the first line of /proc/stat: user nice system idle iowait irq softirq steal.
func readMachineTime() (machineTime, error) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTime{}, fmt.Errorf("read machine time: %w", err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return machineTime{}, fmt.Errorf("read machine time: unknown form %q", line)
	}
	var t machineTime
	for i, field := range fields[1:9] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return machineTime{}, fmt.Errorf("read machine time: %w", err)
		}
		spent := time.Duration(n) * clockTick
		t.all += spent
		switch i {
		case 3, 4: // idle, iowait
		case 7:
			t.stolen += spent
		default:
			t.busy += spent
		}
	}
	return t, nil
}
