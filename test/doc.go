// Package test is the root of Keelson's second module: everything that needs the real world, that is real etcd
// binaries, real clients, real sockets and real disks.
//
// It is a module of its own so that etcd's server and its tools never become dependencies of the product. It
// starts no goroutine and holds no code itself; its parts are integration (black-box tests against a started
// server binary), bench (the same load put on Keelson and on etcd, side by side) and protogen (which writes the
// code of our .proto files).
package test
