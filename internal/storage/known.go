package storage

// KnownTable reports whether a key belongs to one of the tables of keys.go, so that rows that come from another
// member are not taken for more than they are.
func KnownTable(key []byte) bool {
	if len(key) < 2 {
		return false
	}
	switch key[0] {
	case tableLease, tableMeta, tableMember, tableRecord, tableRevision, tableRole, tableUser:
		return true
	}
	return false
}
