package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
)

// lookUpRoster builds the list of members from the SRV records of a domain: those of the service for TLS and those
// of the one without, together.
func (b *beginning) lookUpRoster(ctx context.Context) (roster, error) {
	var pairs []string
	var errs []error
	for _, s := range []struct{ scheme, service string }{{"https", "etcd-server-ssl"}, {"http", "etcd-server"}} {
		if b.config.DiscoverySRVName != "" {
			s.service += "-" + b.config.DiscoverySRVName
		}
		found, err := b.lookUpService(ctx, s.scheme, s.service, len(pairs))
		b.log.Info("looked up the members' records", "service", s.service, "domain", b.config.DiscoverySRV, "found", found, "error", errorText(err))
		pairs, errs = append(pairs, found...), append(errs, err)
	}
	if len(pairs) == 0 {
		return nil, errors.Join(errs...)
	}
	listed, err := parseRoster(strings.Join(pairs, ","))
	if err != nil {
		return nil, err
	}
	if _, ok := listed[b.config.Name]; !ok {
		return nil, fmt.Errorf("cannot find local etcd member %q in SRV records", b.config.Name)
	}
	return listed, nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// ownPlace is one of this member's advertised URLs, resolved.
type ownPlace struct {
	url, scheme, port string
	addresses         []net.IPAddr
}

// lookUpService returns the members that the records of one service name, as in name=scheme://host:port. The one
// that leads to this member gets its name, the others are counted from first. A record that is of no use is passed
// over; the error beside pairs is that of the last one.
func (b *beginning) lookUpService(ctx context.Context, scheme, service string, first int) (pairs []string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("error querying DNS SRV records for _%s %w", service, err)
		}
	}()
	own, err := b.ownPlaces(ctx)
	if err != nil {
		return nil, err
	}
	_, records, err := b.names.resolver.LookupSRV(ctx, service, "tcp", b.config.DiscoverySRV)
	if err != nil {
		return nil, err
	}
	for _, r := range records {
		host, port := strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port))
		u := scheme + "://" + net.JoinHostPort(host, port)
		addresses, lookErr := b.names.addresses(ctx, r.Target)
		if lookErr != nil {
			err = lookErr
			continue
		}
		i := slices.IndexFunc(own, func(o ownPlace) bool {
			return o.port == port && slices.ContainsFunc(o.addresses, func(a net.IPAddr) bool { return contains(addresses, a) })
		})
		switch {
		case i >= 0 && own[i].scheme != scheme:
			err = fmt.Errorf("bootstrap at %s from DNS for %s has scheme mismatch with expected peer %s", u, service, own[i].url)
		case i >= 0:
			pairs = append(pairs, b.config.Name+"="+u)
		default:
			pairs = append(pairs, strconv.Itoa(first)+"="+u)
			first++
		}
	}
	return pairs, err
}

// ownPlaces resolves this member's advertised URLs.
func (b *beginning) ownPlaces(ctx context.Context) ([]ownPlace, error) {
	var own []ownPlace
	for i := range b.config.InitialAdvertisePeerURLs {
		u := &b.config.InitialAdvertisePeerURLs[i]
		addresses, err := b.names.addresses(ctx, u.Hostname())
		if err != nil {
			return nil, err
		}
		own = append(own, ownPlace{url: u.String(), scheme: u.Scheme, port: u.Port(), addresses: addresses})
	}
	return own, nil
}
