// Package auth keeps users and roles, and decides who may touch which range.
//
// Who is asking was found out elsewhere, in room token; here a name is taken as proven.
//
// # Goroutines
//
// None. One goroutine, the one that applies the log, changes the table and asks for Working; Publish makes a
// group's changes visible. A View is immutable and may be used from anywhere.
//
// # Invariants
//
// The auth revision grows with every change that could make an answer wrong that was given before, except that
// users are switched on: nobody was asked for a name before that, so no name can be out of date.
//
// A user's roles, and a role's permissions, are in order. A role that was deleted is nobody's. While users are on
// there is a user root, and it has the role root.
//
// # How a range is checked
//
// The permissions of all roles of a user are merged into disjoint spans, once for everybody with the same roles;
// a check is two lookups and a binary search, and allocates nothing. What was merged is kept with the user until a
// role changes (rights.go).
//
// # Limits
//
// Everything is in memory. A group that changes anything copies a small map of what changed lately, not all names
// (layers.go), and of rows only those that change. A role's permissions are one row, which each change writes
// anew. The merged spans of a user are as many as the permissions of its roles at most; users with the same roles
// share them.
package auth
