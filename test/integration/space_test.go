package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-db/keelson/test/harness"
)

// TestAFullDatabaseRecoversFromADeleteAndACompaction fills a small quota and makes room again. With etcd an
// operator would have to defragment and to clear the alarm.
func TestAFullDatabaseRecoversFromADeleteAndACompaction(t *testing.T) {
	t.Parallel()
	if harness.Target() == harness.Etcd {
		t.Skip("etcd does not recover by itself")
	}
	n := harness.Start(t, harness.Options{Args: []string{"--quota-backend-bytes", fmt.Sprint(16 << 20)}})
	c, ctx := n.Client(t), harness.Ctx(t)
	value := strings.Repeat("v", 64<<10)
	keys := 0
	for ; ; keys++ {
		if _, err := c.Put(ctx, fmt.Sprintf("key-%04d", keys), value); errors.Is(err, rpctypes.ErrNoSpace) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if keys < 200 || keys > 256 {
		t.Errorf("%d values of 64 KiB fit into 16 MiB", keys)
	}
	if got := must(c.AlarmList(ctx))(t).Alarms; len(got) != 1 || got[0].Alarm != pb.AlarmType_NOSPACE {
		t.Errorf("the alarms are %v", got)
	}
	if got := sample(t, scrape(t, n.URL()), "etcd_debugging_server_alarms", "alarm_type=NOSPACE"); got != 1 {
		t.Errorf("the metric of the alarm is %v", got)
	}
	st := must(c.Status(ctx, n.URL()))(t)
	if st.DbSize > 16<<20 || st.DbSize < 15<<20 || st.DbSizeInUse != st.DbSize {
		t.Errorf("the size is %d, of it in use %d", st.DbSize, st.DbSizeInUse)
	}

	// A crash does not make it forget whose alarm that is.
	n.Kill9(t)
	n.Launch(t)
	harness.Eventually(t, 20*time.Second, "the node answers again", func() error {
		_, err := c.Get(ctx, "key-0000") // it is not healthy before there is space
		return err
	})
	gone := must(c.Delete(ctx, "key-", clientv3.WithRange("key-0064")))(t)
	must(c.Compact(ctx, gone.Header.Revision))(t)
	start := time.Now()
	harness.Eventually(t, 5*time.Second, "a put is accepted again", func() error {
		_, err := c.Put(ctx, "again", value)
		return err
	})
	t.Logf("writes came back after %s", time.Since(start))
	if got := must(c.AlarmList(ctx))(t).Alarms; len(got) != 0 {
		t.Errorf("the alarms are %v", got)
	}
	if after := must(c.Status(ctx, n.URL()))(t); after.DbSize > st.DbSize-63*(64<<10) || after.DbSizeInUse != after.DbSize {
		t.Errorf("the size is %d, of it in use %d", after.DbSize, after.DbSizeInUse)
	}
}

// TestHistoryIsCompactedByTime keeps two seconds of history.
func TestHistoryIsCompactedByTime(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Args: []string{"--auto-compaction-mode", "periodic", "--auto-compaction-retention", "2s"}})
	c, ctx := n.Client(t), harness.Ctx(t)
	first := must(c.Put(ctx, "k", "1"))(t).Header.Revision
	must(c.Put(ctx, "k", "2"))(t)
	harness.Eventually(t, 15*time.Second, "the first revision is compacted", func() error {
		_, err := c.Get(ctx, "k", clientv3.WithRev(first))
		if errors.Is(err, rpctypes.ErrCompacted) {
			return nil
		}
		return fmt.Errorf("it answers %w", err)
	})
	must(c.Get(ctx, "k"))(t)
}

// TestDeletesByLeasesAreCounted counts one delete for each key that goes with its lease.
func TestDeletesByLeasesAreCounted(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{})
	c, ctx := n.Client(t), harness.Ctx(t)
	grant := must(c.Grant(ctx, 100))(t)
	for _, key := range []string{"a", "b", "c"} {
		must(c.Put(ctx, key, "v", clientv3.WithLease(grant.ID)))(t)
	}
	before := scrape(t, n.URL())
	must(c.Revoke(ctx, grant.ID))(t)
	after := scrape(t, n.URL())
	for name, want := range map[string]float64{"etcd_mvcc_delete_total": 3, "etcd_debugging_lease_revoked_total": 1} {
		if got := sample(t, after, name) - sample(t, before, name); got != want {
			t.Errorf("%s rose by %v, want %v", name, got, want)
		}
	}
	gates := sample(t, after, "etcd_server_feature_enabled", "name=InitialCorruptCheck", "stage=ALPHA")
	if gates != 0 {
		t.Errorf("the gate InitialCorruptCheck is %v", gates)
	}
	if got := sample(t, after, "etcd_server_feature_enabled", "name=FastLeaseKeepAlive", "stage=BETA"); got != 1 {
		t.Errorf("the gate FastLeaseKeepAlive is %v", got)
	}
}
