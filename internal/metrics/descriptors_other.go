//go:build !linux

package metrics

// openDescriptors is not known on this system.
func openDescriptors() float64 { return 0 }

// DescriptorLimit is not known on this system.
func DescriptorLimit() uint64 { return 0 }
