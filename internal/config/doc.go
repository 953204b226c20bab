// Package config turns etcd's server flags, ETCD_* environment variables and
// YAML or JSON file into one validated Config, and builds the logger that the
// Config asks for.
//
// How a value travels: table.go lists every flag that etcd 3.7 knows, with its
// kind, its default and what Keelson does about it. Whichever source speaks
// (the command line and the environment, or a file alone) only fills texts
// into settings made from that table. After that the source is forgotten: one
// function reads the texts into a Config, one checks them as etcd does, one
// stops the start for what is not built yet, and one collects a warning for
// each value that changes nothing here.
//
// Goroutines: Parse starts none. LogWriter.Run drains the log queue with one
// goroutine per log output while it runs; before Run, log lines are written by
// their callers.
//
// Invariants: a Config that Parse returned has passed every check that does
// not need the data directory. What needs it (is this a first start?) is left
// to Config.CheckBootstrap, which the server calls for an empty directory, and what
// needs name servers or other members to the room bootstrap.
//
// Limits: MaxConfigFileBytes for the file, LogQueueBytes for each log output.
//
// Flags that etcd does not have are marked as Keelson's own.
package config
