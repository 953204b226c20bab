package server

import "testing"

func TestClientsGetTheFilesThatStorageLeaves(t *testing.T) {
	for _, c := range []struct {
		limit               uint64
		tables, connections int
	}{
		{0, 1000, 0},
		{222, 74, 16},
		{1024, 256, 636},
		{4096, 1000, 2964},
		{1 << 20, 1000, 1<<20 - 1132},
		{1<<64 - 1, 1000, 1<<30 - 1132},
	} {
		got, err := shareFiles(c.limit)
		if want := (fileShares{c.tables, c.connections}); err != nil || got != want {
			t.Errorf("of %d files: %+v, %v, want %+v", c.limit, got, err, want)
		}
	}
	if _, err := shareFiles(221); err == nil {
		t.Error("a server starts that has no files for its clients")
	}
}
