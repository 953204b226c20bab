//go:build !linux

package metrics

// openDescriptors is not known on this system.
func openDescriptors() float64 { return 0 }

// descriptorLimit is not known on this system.
func descriptorLimit() float64 { return 0 }
