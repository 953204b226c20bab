package server

import (
	"fmt"

	"github.com/keelson-db/keelson/internal/storage"
)

// How the files that the process may open are shared out. A client that finds no room waits or goes elsewhere; storage
// that finds none ends the server. So storage has its part first, and clients what is left.
const (
	// spareFiles is for sockets, the raft log, snapshots, certificates, log outputs and what compactions write, in files.
	spareFiles = 100
	// probeConnections is how many connections the metrics ports have for themselves, so that a probe gets in however
	// many clients there are.
	probeConnections = 32
	// minTables is the least that the storage engine keeps open, in files.
	minTables = 74
	// minConnections is the least that is worth a start, in connections.
	minConnections = 16
)

// fileShares are the parts of those who open files; connections are 0 where no limit is known.
type fileShares struct{ tables, connections int }

// shareFiles shares out so many files. A limit of 0 is unknown.
func shareFiles(limit uint64) (fileShares, error) {
	if limit == 0 {
		return fileShares{tables: storage.DefaultOpenFiles}, nil
	}
	const least = minTables + spareFiles + probeConnections + minConnections
	if limit < least {
		return fileShares{}, fmt.Errorf("this process may open %d files and needs %d: raise the limit (ulimit -n), to some thousand or more", limit, least)
	}
	files := int(min(limit, 1<<30))
	tables := max(minTables, min(storage.DefaultOpenFiles, files/4))
	return fileShares{tables: tables, connections: files - tables - spareFiles - probeConnections}, nil
}
