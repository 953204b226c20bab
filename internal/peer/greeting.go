package peer

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/keelson-db/keelson/internal/frames"
	"github.com/keelson-db/keelson/internal/replica"
)

// What members tell each other at the start of every connection, in headers of request and response. The first five
// are etcd's.
const (
	headerCluster    = "X-Etcd-Cluster-Id"
	headerFrom       = "X-Server-From"
	headerTo         = "X-Raft-To"
	headerVersion    = "X-Server-Version"
	headerMinCluster = "X-Min-Cluster-Version"

	headerProtocol    = "X-Keelson-Protocol" // lowest and highest version of the wire format, as in 1-1
	headerLevel       = "X-Keelson-Level"    // feature level of the release
	headerIncarnation = "X-Keelson-Incarnation"
	headerRun         = "X-Keelson-Run"
	headerTerm        = "X-Keelson-Term"
	headerLast        = "X-Keelson-Last"
	headerPriority    = "X-Keelson-Priority"
	headerLeaseReads  = "X-Keelson-Lease-Reads"
)

// minClusterVersion is what etcd's members say in its header.
const minClusterVersion = "3.0.0"

// errGreeting means that the other side does not greet as members do.
var errGreeting = errors.New("the greeting is not one of a member")

// greeting is all that a member says of itself.
type greeting struct {
	replica.Greeting
	lowest, highest uint64 // versions of the wire format
	level           uint64
}

// greet writes what this member says of itself.
func (m *Mesh) greet(h http.Header) {
	m.identify(h)
	g := m.order.Greeting()
	h.Set(headerProtocol, fmt.Sprintf("%d-%d", frames.LowestVersion, frames.HighestVersion))
	h.Set(headerLevel, strconv.FormatUint(uint64(m.o.Level), 10))
	h.Set(headerIncarnation, hex(g.Incarnation))
	h.Set(headerRun, hex(g.Run))
	h.Set(headerTerm, strconv.FormatUint(g.Term, 10))
	h.Set(headerLast, strconv.FormatUint(g.Last, 10))
	h.Set(headerPriority, strconv.Itoa(g.Priority))
	h.Set(headerLeaseReads, strconv.FormatBool(g.LeaseReads))
}

// identify writes the headers that every answer of the peer port has.
func (m *Mesh) identify(h http.Header) {
	h.Set(headerCluster, hex(m.cluster))
	h.Set(headerFrom, hex(m.local))
	h.Set(headerVersion, m.o.Version)
	h.Set(headerMinCluster, minClusterVersion)
}

// readGreeting reads what another member said of itself.
func readGreeting(h http.Header) (g greeting, err error) {
	number := func(name string, base int) (n uint64) {
		n, bad := strconv.ParseUint(h.Get(name), base, 64)
		if bad != nil && err == nil {
			err = fmt.Errorf("%w: %s is %.40q", errGreeting, name, h.Get(name))
		}
		return n
	}
	g.From, g.Incarnation, g.Run = number(headerFrom, 16), number(headerIncarnation, 16), number(headerRun, 16)
	g.Term, g.Last, g.level = number(headerTerm, 10), number(headerLast, 10), number(headerLevel, 10)
	low, high, ok := strings.Cut(h.Get(headerProtocol), "-")
	lowest, bad1 := strconv.ParseUint(low, 10, 16)
	highest, bad2 := strconv.ParseUint(high, 10, 16)
	priority, bad3 := strconv.Atoi(h.Get(headerPriority))
	leases, bad4 := strconv.ParseBool(h.Get(headerLeaseReads))
	if wrong := errors.Join(bad1, bad2, bad3, bad4); err == nil && (!ok || wrong != nil) {
		err = fmt.Errorf("%w: %.20q, %.20q, %.20q", errGreeting, h.Get(headerProtocol), h.Get(headerPriority), h.Get(headerLeaseReads))
	}
	g.lowest, g.highest, g.Priority, g.LeaseReads = lowest, highest, priority, leases
	return g, err
}

// common reports whether there is a version of the wire format that both sides know.
func (g *greeting) common() bool {
	return g.lowest <= frames.HighestVersion && g.highest >= frames.LowestVersion
}

func hex(id uint64) string { return strconv.FormatUint(id, 16) }
