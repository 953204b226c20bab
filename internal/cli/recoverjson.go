package cli

import (
	"time"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/rebuild"
)

type jsonFacts struct {
	Source    string     `json:"source"`
	Running   bool       `json:"running,omitempty"`
	Problem   string     `json:"problem,omitempty"`
	ID        string     `json:"id,omitempty"`
	Name      string     `json:"name,omitempty"`
	Kind      string     `json:"kind,omitempty"`
	LastIndex uint64     `json:"last_index,omitempty"`
	LastTerm  uint64     `json:"last_term,omitempty"`
	Committed uint64     `json:"committed,omitempty"`
	Applied   uint64     `json:"applied,omitempty"`
	Revision  int64      `json:"revision,omitempty"`
	Written   *time.Time `json:"written,omitempty"`
}

func readableFacts(list []*rebuild.Facts) (out []jsonFacts) {
	for _, f := range list {
		one := jsonFacts{
			Source: f.Source, Running: f.Running, ID: hex(uint64(f.ID)), Name: f.Name, LastIndex: f.Last.Index, LastTerm: f.Last.Term,
			Committed: f.Commit, Applied: f.Applied, Revision: int64(f.Revision),
		}
		if f.Problem != nil {
			one.Problem = f.Problem.Error()
		}
		if f.ID != 0 {
			one.Kind = factsKind(f)
		}
		if !f.Written.IsZero() {
			one.Written = &f.Written
		}
		out = append(out, one)
	}
	return out
}

func knownMembers(list []member.Member) (out []jsonMember) {
	for _, m := range list {
		out = append(out, jsonMember{ID: hex(uint64(m.ID)), Name: m.Name, Learner: m.Learner, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs})
	}
	return out
}

type jsonLoss struct {
	Of      string `json:"of"`
	Entries uint64 `json:"entries"`
}

type jsonVerdict struct {
	Source    string       `json:"source"`
	ID        string       `json:"id"`
	Safe      bool         `json:"nothing_acknowledged_is_lost"`
	Uncertain uint64       `json:"entries_perhaps_not_acknowledged,omitempty"`
	Lost      []jsonLoss   `json:"entries_of_others_only,omitempty"`
	Unknown   []jsonMember `json:"unknown_voters,omitempty"`
	Voters    int          `json:"voters"`
	Quorum    int          `json:"quorum"`
}

type jsonCluster struct {
	ID      string       `json:"cluster_id"`
	Found   []jsonFacts  `json:"found"`
	Missing []jsonMember `json:"missing,omitempty"`
}

func (p *jsonPrinter) survey(s *surveyed) error {
	out := struct {
		Clusters []jsonCluster `json:"clusters"`
		Unusable []jsonFacts   `json:"unusable,omitempty"`
		Chosen   *jsonVerdict  `json:"chosen,omitempty"`
	}{Clusters: []jsonCluster{}, Unusable: readableFacts(s.useless)}
	for _, c := range s.clusters {
		out.Clusters = append(out.Clusters, jsonCluster{ID: hex(c.ID), Found: readableFacts(c.Found), Missing: knownMembers(c.Missing)})
	}
	if s.chosen != nil {
		v := s.verdict
		out.Chosen = &jsonVerdict{
			Source: s.chosen.Source, ID: hex(uint64(s.chosen.ID)), Safe: v.Safe, Uncertain: v.Open,
			Unknown: knownMembers(v.Unknown), Voters: v.Voters, Quorum: v.Quorum,
		}
		for _, l := range v.Losses {
			out.Chosen.Lost = append(out.Chosen.Lost, jsonLoss{Of: hex(uint64(l.Of.ID)), Entries: l.Entries})
		}
	}
	return p.print(out)
}

func (p *jsonPrinter) rebuilt(r *rebuilt) error {
	return p.print(struct {
		Rebuilt string       `json:"rebuilt"`
		ID      string       `json:"id"`
		Cluster string       `json:"cluster_id"`
		Removed []jsonMember `json:"removed,omitempty"`
		Backup  string       `json:"backup,omitempty"`
	}{r.place.Data, hex(uint64(r.chosen.ID)), hex(r.chosen.Cluster), knownMembers(r.removed), r.backup})
}
