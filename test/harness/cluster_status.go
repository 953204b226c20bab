package harness

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

const (
	// SettleLimit bounds the wait for a cluster to become what it must become: an election, a member that catches up.
	SettleLimit = 30 * time.Second
	// askLimit bounds one question for a member's status.
	askLimit = time.Second
)

// Client opens etcd's client library on the given members, or on all that are not removed; it closes with the test.
func (c *Cluster) Client(t testing.TB, members ...*Member) *clientv3.Client {
	t.Helper()
	return c.ClientAs(t, "", "", members...)
}

// ClientAs is Client for a user with a password; an empty name is nobody.
func (c *Cluster) ClientAs(t testing.TB, user, password string, members ...*Member) *clientv3.Client {
	t.Helper()
	endpoints := c.Endpoints()
	if len(members) > 0 {
		endpoints = nil
		for _, m := range members {
			endpoints = append(endpoints, m.ClientAddr)
		}
	}
	config := clientv3.Config{
		Endpoints: endpoints, DialTimeout: CallLimit, Logger: zap.NewNop(), Username: user, Password: password,
		// A member that has been restarted should be found at once.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
			MinConnectTimeout: time.Second,
		})},
	}
	if c.pki != nil {
		config.TLS = c.pki.Client()
	}
	var client *clientv3.Client
	// A user logs in here, which may fall into an election.
	Eventually(t, SettleLimit, "open a client", func() (err error) {
		client, err = clientv3.New(config)
		return err
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Status asks one member for its status.
func (m *Member) Status(t testing.TB) (*pb.StatusResponse, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	return pb.NewMaintenanceClient(m.connection(t)).Status(ctx, &pb.StatusRequest{})
}

// AskAs makes the harness ask for the state of members as a user, where nobody else may.
func (c *Cluster) AskAs(user, password string) {
	c.user, c.password = user, password
	for _, m := range c.Members {
		m.conn = nil
	}
}

// connection is a bare connection to the member that stays for the whole test.
func (m *Member) connection(t testing.TB) *grpc.ClientConn {
	t.Helper()
	switch c := m.cluster; {
	case m.conn != nil:
	case c.user != "":
		m.conn = c.ClientAs(t, c.user, c.password, m).ActiveConnection()
	default:
		m.conn = m.Conn(t)
	}
	return m.conn
}

// leader is the member that the running members other than the given ones believe to lead, in the newest term.
func (c *Cluster) leader(t testing.TB, but []*Member) (*Member, error) {
	t.Helper()
	var term, id uint64
	for _, m := range c.Running() {
		if contains(but, m) {
			continue
		}
		s, err := m.Status(t)
		if err != nil {
			continue
		}
		m.ID = s.Header.MemberId
		if s.RaftTerm > term {
			term, id = s.RaftTerm, 0
		}
		if s.RaftTerm == term && s.Leader != 0 {
			id = s.Leader
		}
	}
	for _, m := range c.Running() {
		if id != 0 && m.ID == id && !contains(but, m) {
			return m, nil
		}
	}
	return nil, fmt.Errorf("in term %d the leader is %x, no running member that was asked", term, id)
}

// Leader waits until there is a leader among the running members, apart from the given ones, which are not asked.
func (c *Cluster) Leader(t testing.TB, but ...*Member) *Member {
	t.Helper()
	var leader *Member
	Eventually(t, SettleLimit, "a leader", func() (err error) {
		leader, err = c.leader(t, but)
		return err
	})
	return leader
}

// Followers are the running members other than the leader.
func (c *Cluster) Followers(t testing.TB) []*Member {
	t.Helper()
	leader := c.Leader(t)
	var others []*Member
	for _, m := range c.Running() {
		if m != leader {
			others = append(others, m)
		}
	}
	return others
}

// learnIDs asks every running member for its ID.
func (c *Cluster) learnIDs(t testing.TB) {
	t.Helper()
	for _, m := range c.Running() {
		Eventually(t, SettleLimit, "status of "+m.Name, func() error {
			s, err := m.Status(t)
			if err == nil {
				m.ID = s.Header.MemberId
			}
			return err
		})
	}
}

// WaitServing waits until the member answers what it can answer alone; a learner never answers more.
func (m *Member) WaitServing(t testing.TB, limit time.Duration) {
	t.Helper()
	m.waitFor(t, "/health?serializable=true", limit)
	Eventually(t, SettleLimit, "status of "+m.Name, func() error {
		s, err := m.Status(t)
		if err == nil {
			m.ID = s.Header.MemberId
		}
		return err
	})
}

// WaitHealthy waits until every running member answers a linearizable read.
func (c *Cluster) WaitHealthy(t testing.TB) {
	t.Helper()
	for _, m := range c.Running() {
		m.waitFor(t, "/health", SettleLimit)
	}
}

// WaitApplied waits until all running members that are not removed have applied what the most advanced has now.
func (c *Cluster) WaitApplied(t testing.TB, limit time.Duration) {
	t.Helper()
	var target int64
	for _, m := range c.Running() {
		if s, err := m.Status(t); err == nil {
			target = max(target, s.Header.Revision)
		}
	}
	for _, m := range c.Running() {
		if m.removed {
			continue
		}
		Eventually(t, limit, m.Name+" catches up", func() error {
			s, err := m.Status(t)
			if err != nil {
				return err
			}
			if s.Header.Revision < target {
				return fmt.Errorf("it is at revision %d, others at %d", s.Header.Revision, target)
			}
			return nil
		})
	}
}

// Metric reads the sum of all samples of one metric of a member.
func (m *Member) Metric(t testing.TB, name string) float64 {
	t.Helper()
	text, err := m.get("/metrics")
	if err != nil {
		t.Fatalf("read the metrics of %s: %v", m.Name, err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("read the metrics of %s: %v", m.Name, err)
	}
	sum := 0.0
	for _, sample := range families[name].GetMetric() {
		sum += sample.GetCounter().GetValue() + sample.GetGauge().GetValue() + sample.GetUntyped().GetValue() +
			float64(sample.GetHistogram().GetSampleCount())
	}
	return sum
}

// Row is one line of etcdctl's table of endpoints.
type Row struct {
	ID                string
	Leader, Learner   bool
	Errors            string
	DBSize, RaftTerm  string
	Version, Endpoint string
}

// Table asks one member for `endpoint status --cluster -w table` and returns its rows; members that do not answer have none.
func (c *Cluster) Table(t testing.TB, from *Member) []Row {
	t.Helper()
	r := from.CtlInput(t, "", "--dial-timeout", "1s", "--command-timeout", "2s", "endpoint", "status", "--cluster", "-w", "table")
	var rows []Row
	var head []string
	for line := range strings.Lines(strings.ReplaceAll(r.Out, "│", "|")) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if head == nil {
			head = cells
			continue
		}
		cell := map[string]string{}
		for i, name := range head {
			if i < len(cells) {
				cell[name] = cells[i]
			}
		}
		rows = append(rows, Row{
			Endpoint: cell["ENDPOINT"], ID: cell["ID"], Version: cell["VERSION"], DBSize: cell["DB SIZE"], RaftTerm: cell["RAFT TERM"],
			Leader: cell["IS LEADER"] == "true", Learner: cell["IS LEARNER"] == "true", Errors: cell["ERRORS"],
		})
	}
	return rows
}

func contains(list []*Member, m *Member) bool {
	for _, x := range list {
		if x == m {
			return true
		}
	}
	return false
}

// Wipe removes everything that an ended member has on its disk.
func (m *Member) Wipe(t testing.TB) {
	t.Helper()
	if !m.proc.Exited() {
		t.Fatal("the member still runs")
	}
	if err := os.RemoveAll(m.Dir); err != nil {
		t.Fatal(err)
	}
}
