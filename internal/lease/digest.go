package lease

// Digest tells one set of leases from another. It is the sum of a number per lease, so that it follows each change in
// constant time and does not care for their order. Members of different releases compare it: it never changes.
func (t *Table) Digest() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.digest
}

// digest scrambles what is known of a lease, so that two differences do not cancel each other.
func (l Lease) digest() uint64 {
	return scramble(scramble(scramble(uint64(l.ID))^uint64(l.TTL)) ^ uint64(l.Remaining))
}

// scramble is a step of the generator SplitMix64: each bit of its result depends on every bit of v.
func scramble(v uint64) uint64 {
	v += 0x9e3779b97f4a7c15
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}
