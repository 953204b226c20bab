package rpc

import (
	"crypto/sha1" // The ids of etcd are defined by SHA-1; nothing here needs its strength.
	"encoding/binary"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// peerURLs reads the addresses of a member: each must be one that other members can dial. They come back in the
// order in which they were given, written as all members write them.
func peerURLs(given []string) ([]string, error) {
	if len(given) == 0 {
		return nil, fmt.Errorf("read the peer URLs: there is none")
	}
	var all []string
	for _, text := range given {
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("read the peer URLs: %w", err)
		}
		switch u.Scheme {
		case "http", "https":
			if _, _, err := net.SplitHostPort(u.Host); err != nil {
				return nil, fmt.Errorf("read the peer URL %s: %w", text, err)
			}
			if u.Path != "" {
				return nil, fmt.Errorf("read the peer URL %s: it has a path", text)
			}
		case "unix", "unixs":
		default:
			return nil, fmt.Errorf("read the peer URL %s: its scheme is none of http, https, unix and unixs", text)
		}
		all = append(all, u.String())
	}
	return all, nil
}

// newMemberID is the ID of a member that joins a running cluster: etcd's rule, which makes it of the sorted URLs and
// the second, so that the same addresses may come again.
func newMemberID(urls []string, now time.Time) uint64 {
	sorted := slices.Sorted(slices.Values(urls))
	sum := sha1.Sum([]byte(strings.Join(sorted, "") + strconv.FormatInt(now.Unix(), 10)))
	return binary.BigEndian.Uint64(sum[:8])
}
