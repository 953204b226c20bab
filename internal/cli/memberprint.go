package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func memberKind(m *pb.Member) string {
	if m.IsLearner {
		return "learner"
	}
	return "voter"
}

// table begins a table; its columns are as wide as they have to be.
func table(b *strings.Builder) *tabwriter.Writer { return tabwriter.NewWriter(b, 0, 0, 2, ' ', 0) }

func (p *simplePrinter) members(list []*pb.Member) error {
	var b strings.Builder
	t := table(&b)
	fmt.Fprintln(t, "ID\tNAME\tKIND\tPEER URLS\tCLIENT URLS")
	for _, m := range list {
		name, clients := m.Name, strings.Join(m.ClientURLs, ",")
		if name == "" {
			name, clients = "-", "not started yet"
		}
		fmt.Fprintf(t, "%x\t%s\t%s\t%s\t%s\n", m.ID, name, memberKind(m), strings.Join(m.PeerURLs, ","), clients)
	}
	_ = t.Flush() // it writes into memory
	return p.flush(&b)
}

func (p *simplePrinter) member(c changedMember) error {
	var b strings.Builder
	name := c.member.Name
	if name == "" {
		name = c.name
	}
	fmt.Fprintf(&b, "%s %s (%x), a %s\n", c.verb, name, c.member.ID, memberKind(c.member))
	if c.verb == "added" {
		fmt.Fprintf(&b, "Start it with an empty data directory and these flags beside its own:\n\n  --name %s --initial-cluster-state existing \\\n"+
			"  --initial-advertise-peer-urls %s \\\n  --initial-cluster %s\n", c.name, strings.Join(c.member.PeerURLs, ","), initialCluster(c))
		if c.member.IsLearner {
			fmt.Fprintf(&b, "\nand once it has caught up: keelson member promote %x\n", c.member.ID)
		}
	}
	return p.flush(&b)
}

// initialCluster is the flag of that name for a member that was added.
func initialCluster(c changedMember) string {
	var parts []string
	for _, m := range c.list {
		name := m.Name
		switch {
		case m.ID == c.member.ID:
			name = c.name
		case name == "":
			// It has not started, and any name will do: members are known by their URLs.
			name = hex(m.ID)
		}
		for _, u := range m.PeerURLs {
			parts = append(parts, name+"="+u)
		}
	}
	return strings.Join(parts, ",")
}

type jsonMember struct {
	ID         string   `json:"id"`
	Name       string   `json:"name,omitempty"`
	Learner    bool     `json:"learner,omitempty"`
	PeerURLs   []string `json:"peer_urls,omitempty"`
	ClientURLs []string `json:"client_urls,omitempty"`
}

func readableMembers(list []*pb.Member) []jsonMember {
	out := make([]jsonMember, 0, len(list))
	for _, m := range list {
		out = append(out, jsonMember{ID: hex(m.ID), Name: m.Name, Learner: m.IsLearner, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs})
	}
	return out
}

func (p *jsonPrinter) members(list []*pb.Member) error {
	return p.print(struct {
		Members []jsonMember `json:"members"`
	}{readableMembers(list)})
}

func (p *jsonPrinter) member(c changedMember) error {
	out := struct {
		Verb           string       `json:"done"`
		Member         jsonMember   `json:"member"`
		Members        []jsonMember `json:"members"`
		InitialCluster string       `json:"initial_cluster,omitempty"`
	}{Verb: c.verb, Member: readableMembers([]*pb.Member{c.member})[0], Members: readableMembers(c.list)}
	if c.verb == "added" {
		out.InitialCluster = initialCluster(c)
	}
	return p.print(out)
}
