// Package etcdfile writes and reads etcd's own database file, so that users can come and go.
package etcdfile
