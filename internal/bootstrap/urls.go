package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	// resolveLimit is how long name servers may take until two lists of URLs are found to be the same.
	resolveLimit = 30 * time.Second
	// resolvePause is the time between two questions for one name.
	resolvePause = time.Second
)

// names asks name servers, and once more every second where there is no answer: members and their names are often
// made in the same moment. What was answered is not asked again.
type names struct {
	resolver Resolver
	log      *slog.Logger
	known    map[string][]net.IPAddr
}

var errNoAddress = errors.New("the name has no address")

// addresses returns the addresses of a host. What needs no name server is answered without one.
func (n *names) addresses(ctx context.Context, host string) ([]net.IPAddr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []net.IPAddr{{IP: addr.Unmap().AsSlice(), Zone: addr.Zone()}}, nil
	}
	if known, ok := n.known[host]; ok {
		return known, nil
	}
	found, err := n.resolver.LookupIPAddr(ctx, host)
	if err == nil && len(found) == 0 {
		err = errNoAddress
	}
	if err == nil {
		n.known[host] = found
	}
	return found, err
}

// waitAddresses asks for addresses until there are some.
func (n *names) waitAddresses(ctx context.Context, host string) ([]net.IPAddr, error) {
	for {
		found, err := n.addresses(ctx, host)
		if err == nil {
			return found, nil
		}
		n.log.Warn("a name has no address yet", "host", host, "error", err.Error(), "ask-again-in", resolvePause.String())
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(resolvePause):
		}
	}
}

// place is where a peer URL leads.
type place struct {
	scheme, host, port, path string
	addresses                []net.IPAddr // none where there is nothing to resolve
}

// String is the URL with the first address in the place of the host.
func (p place) String() string {
	host := p.host
	if len(p.addresses) > 0 {
		host = p.addresses[0].String()
	}
	if p.port != "" {
		host = net.JoinHostPort(host, p.port)
	}
	return p.scheme + "://" + host + p.path
}

// leadsTo reports whether both lead to one place: the same text, or addresses of which one is the same.
func (p place) leadsTo(other place) bool {
	if p.scheme != other.scheme || p.port != other.port || p.path != other.path {
		return false
	}
	return p.host == other.host || slices.ContainsFunc(p.addresses, func(a net.IPAddr) bool { return contains(other.addresses, a) })
}

func contains(all []net.IPAddr, addr net.IPAddr) bool {
	return slices.ContainsFunc(all, func(a net.IPAddr) bool { return a.IP.Equal(addr.IP) && a.Zone == addr.Zone })
}

// parsePlaces reads URLs, sorted by their texts. Addresses in them are brought into one form.
func parsePlaces(texts []string) ([]place, error) {
	var all []place
	for _, text := range slices.Sorted(slices.Values(texts)) {
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("failed to parse string to URL: %q", text)
		}
		p := place{scheme: u.Scheme, host: u.Hostname(), port: u.Port(), path: u.Path}
		if addr, err := netip.ParseAddr(p.host); err == nil {
			p.host = addr.Unmap().String()
		}
		all = append(all, p)
	}
	return all, nil
}

// resolve fills in the addresses. localhost is every machine's own and no name to ask for.
func (n *names) resolve(ctx context.Context, places []place) error {
	for i := range places {
		p := &places[i]
		if p.host == "localhost" || strings.HasPrefix(p.scheme, "unix") {
			continue
		}
		var err error
		if p.addresses, err = n.waitAddresses(ctx, p.host); err != nil {
			return fmt.Errorf("failed to resolve %q (%w)", p.String(), err)
		}
	}
	return nil
}

// sameText reports whether two lists of URLs are the same without asking anybody.
func sameText(a, b []string) bool {
	x, errX := parsePlaces(a)
	y, errY := parsePlaces(b)
	return errX == nil && errY == nil && slices.EqualFunc(x, y, func(p, q place) bool { return p.String() == q.String() })
}

// compare returns nil if two lists of URLs lead to the same places, and else what the difference is.
func (n *names) compare(ctx context.Context, a, b []string) error {
	if len(a) != len(b) {
		return fmt.Errorf("len(%q) != len(%q)", a, b)
	}
	if sameText(a, b) {
		return nil
	}
	x, err := parsePlaces(a)
	if err != nil {
		return err
	}
	y, err := parsePlaces(b)
	if err != nil {
		return err
	}
	if err := n.resolve(ctx, x); err != nil {
		return err
	}
	if err := n.resolve(ctx, y); err != nil {
		return err
	}
	return matchPlaces(x, y)
}

// matchPlaces finds a partner for each place, and otherwise names two that are none.
func matchPlaces(x, y []place) error {
	free := slices.Clone(y)
	for _, p := range x {
		i := slices.IndexFunc(free, p.leadsTo)
		if i < 0 {
			return firstDifference(x, y)
		}
		free = slices.Delete(free, i, i+1)
	}
	return nil
}

func firstDifference(x, y []place) error {
	for i, texts := 0, [2][]string{resolved(x), resolved(y)}; i < len(x); i++ {
		if texts[0][i] != texts[1][i] {
			return fmt.Errorf("resolved urls: %q != %q", texts[0][i], texts[1][i])
		}
	}
	return fmt.Errorf("resolved urls: %q != %q", resolved(x), resolved(y))
}

func resolved(places []place) []string {
	var texts []string
	for _, p := range places {
		texts = append(texts, p.String())
	}
	slices.Sort(texts)
	return texts
}
