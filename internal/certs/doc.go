// Package certs keeps the TLS files of one side of the server, that of its clients or that of other members:
// certificate and key, the authorities of others, and lists of revoked certificates. They are read again when they
// change, without a restart. One Keeper serves those who connect (ServerConfig) and those who are dialled (Client).
//
// Goroutines: Open reads; Keeper.Run looks at the files and is the only one that does. Handshakes, from any
// goroutine, read one atomic pointer and never the disk.
//
// Invariants: a handshake sees one consistent set of files; a file that became unreadable or wrong changes
// nothing but the log; who has been verified is asked about at the end of every handshake, and sessions are
// not resumed, so a revoked certificate has no second door.
//
// Limits: lookInterval, maxFileBytes, maxKnownSigners, maxLookUp, each at its declaration.
package certs
