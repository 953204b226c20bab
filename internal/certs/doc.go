// Package certs keeps the TLS files of one side of the server: certificates, authorities and lists of revoked
// certificates, reloaded when they change.
package certs
