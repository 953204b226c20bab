package metrics

import (
	"os"
	"syscall"
)

// openDescriptors counts this process's open files, or returns 0 where /proc is not mounted.
func openDescriptors() float64 {
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil || len(names) == 0 {
		return 0
	}
	return float64(len(names) - 1) // The one that reads the directory is closed again.
}

// DescriptorLimit is how many files this process may open, or 0 where that cannot be asked.
func DescriptorLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return limit.Cur
}
