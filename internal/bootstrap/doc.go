// Package bootstrap finds out who is in the cluster when a member starts with an empty data directory.
//
// There are five ways: the members are listed on the command line, in SRV records, or by another cluster that
// introduces them to each other; the cluster is running and has this member on its list; or it is running and is asked
// to take this member in. Each ends in a Plan: the cluster, this member, all members, and where to fetch the
// state if there is one. Nothing is written here, and a member with data never comes here.
//
// Rules and texts are etcd's, so that the same flags lead to the same cluster or to the same refusal.
//
// Goroutines: none. Resolve blocks until the Plan is made, at most until its context is done.
//
// Invariants: the members of a Plan have ids that differ, and Local is one of them. A founder's id depends on its
// peer URLs and the token alone, so members that were told the same found the same cluster without asking each
// other. A member that others know as started never founds anything: it would vote a second time.
//
// Limits: maxAnswerBytes, resolveLimit, knownLimit, listLimit, requestLimit, maxBackoff, joinLimit, maxJoinBytes and
// maxJoinURLs, each at its declaration.
package bootstrap
