package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
)

// Ports are taken below the kernel's ephemeral range (32768 and up), so that no outgoing connection can take the port
// of a member while it is down: it has to come back to where the others look for it.
const (
	firstPort = 12000 // inclusive, a TCP port number
	lastPort  = 32000 // exclusive, a TCP port number
)

// freeAddresses finds so many loopback addresses on which nothing listens. All are held until all are known, so they
// differ.
func freeAddresses(count int) ([]string, error) {
	var held []net.Listener
	defer func() {
		for _, listener := range held {
			_ = listener.Close()
		}
	}()
	// Benchmarks that run side by side start at different places.
	start := os.Getpid() * 97
	var found []string
	for i := range lastPort - firstPort {
		if len(found) == count {
			return found, nil
		}
		port := firstPort + (start+i)%(lastPort-firstPort)
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
		if err != nil {
			continue // somebody has it
		}
		held = append(held, listener)
		found = append(found, address)
	}
	return nil, fmt.Errorf("find %d free ports: all of %d to %d are taken", count, firstPort, lastPort-1)
}
