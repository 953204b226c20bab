// Package harness starts and stops the binaries that the black-box tests drive: the server under test (Keelson, or
// a real etcd when KEELSON_TEST_SERVER=etcd) and the stock etcdctl.
//
// Goroutines: one per started process, waiting for its end. Invariants: only processes started here are ever
// signalled, each by its own pid; every wait has a deadline; a failing test prints the log of its node.
// Limits: a transcript keeps the last maxTranscript bytes of a process's output.
package harness
