package bootstrap

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/member"
)

// roster is a list of members as operators write it: names, each with its sorted peer URLs.
type roster map[string][]string

// parseRoster reads the form of --initial-cluster.
func parseRoster(text string) (roster, error) {
	r, err := config.ParseInitialCluster(text)
	return roster(r), err
}

// String is the form of --initial-cluster, sorted.
func (r roster) String() string {
	var pairs []string
	for name, urls := range r {
		for _, u := range urls {
			pairs = append(pairs, name+"="+u)
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// hasDuplicate reports whether a URL stands there twice.
func (r roster) hasDuplicate() bool {
	seen := map[string]bool{}
	for _, urls := range r {
		for _, u := range urls {
			if seen[u] {
				return true
			}
			seen[u] = true
		}
	}
	return false
}

// checkLocal demands that this member is on the list.
func (r roster) checkLocal(name string) error {
	if _, ok := r[name]; !ok {
		return fmt.Errorf("couldn't find local name %q in the initial cluster configuration", name)
	}
	return nil
}

// others are the peer URLs of all members but one, sorted.
func (r roster) others(name string) []string {
	var all []string
	for other, urls := range r {
		if other != name {
			all = append(all, urls...)
		}
	}
	slices.Sort(all)
	return all
}

// founders are the members that a new cluster begins with, by id.
func (r roster) founders(token string) []member.Member {
	var all []member.Member
	for name, urls := range r {
		all = append(all, member.Member{ID: member.ID(config.MemberID(urls, token)), Name: name, PeerURLs: urls})
	}
	slices.SortFunc(all, func(a, b member.Member) int { return cmp.Compare(a.ID, b.ID) })
	return all
}
