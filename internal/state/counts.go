package state

// Counts are how often things were done to the state since it was opened.
type Counts struct {
	Puts, PutBytes, Deletes, Ranges, Txns uint64 // those inside transactions included
	LeasesGranted, LeasesRevoked          uint64
}

// TakeCounts returns what was done since it was last called. It belongs to the applying goroutine.
func (m *Machine) TakeCounts() Counts {
	c := m.counts
	m.counts = Counts{}
	return c
}
