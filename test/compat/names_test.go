package compat

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

// learnNames asks the server, before users can be on, for what differs from run to run and has a name in stories.
func (s *teller) learnNames(t *testing.T) {
	t.Helper()
	resp, err := pb.NewMaintenanceClient(s.conn).Status(harness.Ctx(t), &pb.StatusRequest{})
	if err != nil {
		t.Fatalf("ask for the status: %v", err)
	}
	member, cluster := strconv.FormatUint(resp.Header.MemberId, 10), strconv.FormatUint(resp.Header.ClusterId, 10)
	pairs := []string{"$member", member, "$cluster", cluster, "$client", s.node.ClientAddr, "$peer", s.node.PeerAddr, "$dir", s.dir}
	s.names = strings.NewReplacer(pairs...)
	for i := 0; i < len(pairs); i += 2 {
		pairs[i], pairs[i+1] = pairs[i+1], pairs[i]
	}
	s.ids = strings.NewReplacer(pairs...)
}

var (
	// drawn matches numbers that a server draws at random: IDs of leases and of new members.
	drawn = regexp.MustCompile(`\b[1-9][0-9]{15,19}\b`)
	// drawnKey matches the key that a lock or a candidate has through a lease that the server drew.
	drawnKey = regexp.MustCompile(`/[0-9a-f]{12,16}\b`)
)

// named writes an answer with names in place of what differs from run to run.
func (s *teller) named(text string) string {
	return drawnKey.ReplaceAllString(drawn.ReplaceAllString(s.ids.Replace(text), "<drawn>"), "/<drawn>")
}
