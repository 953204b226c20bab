// Package lock is etcd's lock and election services: recipes over keys and leases, carried out in the server
// with the caller's rights.
package lock
