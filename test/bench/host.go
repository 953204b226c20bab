package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// probeWrites is the number of syncs of the disk probe.
const probeWrites = 150

// probeSize is the number of bytes written before each sync of the disk probe.
const probeSize = 4096

// host is what a reader must know of the machine to judge the figures. It names no machine and no path.
type host struct {
	Processors int           `json:"processors"`
	Model      string        `json:"model"`
	Kernel     string        `json:"kernel"`
	Go         string        `json:"go"`
	SyncP50    time.Duration `json:"sync_p50_ns"`
}

func describeHost(dir string) (host, error) {
	h := host{Processors: runtime.NumCPU(), Model: processorModel(), Go: runtime.Version()}
	if data, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h.Kernel, _, _ = strings.Cut(strings.TrimSpace(string(data)), "-")
	}
	var err error
	h.SyncP50, err = probeSync(dir)
	return h, err
}

// processorModel reads the processor's name; not every architecture tells it.
func processorModel() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(data)) {
		if label, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(label) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// probeSync measures the median time of writing a little and syncing it: the floor of any durable put.
func probeSync(dir string) (time.Duration, error) {
	file, err := os.Create(filepath.Join(dir, "probe"))
	if err != nil {
		return 0, fmt.Errorf("probe the disk: %w", err)
	}
	defer func() { _ = file.Close() }()
	if err := file.Truncate(probeSize * probeWrites); err != nil {
		return 0, fmt.Errorf("probe the disk: %w", err)
	}
	times := &histogram{}
	for i := range probeWrites {
		began := time.Now()
		if _, err := file.WriteAt(make([]byte, probeSize), int64(i*probeSize)); err != nil {
			return 0, fmt.Errorf("probe the disk: %w", err)
		}
		if err := syscall.Fdatasync(int(file.Fd())); err != nil {
			return 0, fmt.Errorf("probe the disk: %w", err)
		}
		times.record(time.Since(began))
	}
	return times.percentile(0.5), nil
}

// String is one sentence for the notes under the table.
func (h host) String() string {
	return fmt.Sprintf("%d processors (%s), Linux %s, %s; writing and syncing 4 KiB takes %.0f µs at the median",
		h.Processors, h.Model, h.Kernel, h.Go, micros(h.SyncP50))
}
