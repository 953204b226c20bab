package mvcc

// Items yields the live keys of a range in order, as Tx.Items does: compares of read-only transactions
// look at them. To be built over the view's root.
func (v *View) Items(key, end []byte, yield func(*Item) bool) { panic("not built") }
