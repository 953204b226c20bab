// Package etcdfile writes etcd's own database file, a bbolt file, so that users can come and go.
//
// A file is laid out by one walk over the lengths of all rows and written by a second one over the rows
// themselves, front to back and with nothing on the side: its size is known before its first byte, and it can
// be sent to a client while it is made. The road not taken is a temporary database of the library that etcd
// uses, which would cost a copy of everything on disk and cannot be sent before it is finished.
//
// # The file
//
// Pages of 4096 bytes, numbered from 0, all numbers little-endian. The first two pages are metas, which name
// the page of the root bucket; both say the same. Page 2 is a list of free pages, and there are none: without the
// list, whoever opens the file would have to walk all of it. Then comes the root bucket, whose rows name the
// root pages of the buckets, and then bucket after bucket. A bucket is a B+tree. Its leaves stand in the order
// of their rows, and a branch stands right behind the last of its children. A page whose rows need more room
// goes on into the pages that follow it.
//
// The size of a page is in the metas, so a file can be read on any machine. 4096 is what bbolt chooses on most.
//
// # Goroutines
//
// None.
//
// # Invariants
//
// Both walks see the same lengths: a Write that finds other ones ends with ErrChanged.
//
// # Limits
//
// A row: 2^31 bytes. Memory: one page with its row for each level of the tree.
package etcdfile
