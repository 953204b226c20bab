package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-db/keelson/test/harness"
)

// saveSnapshot saves a snapshot as a client would, and returns the file.
func saveSnapshot(t *testing.T, c *clientv3.Client) string {
	t.Helper()
	r, err := c.Snapshot(harness.Ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	name := filepath.Join(t.TempDir(), "snapshot.db")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, r); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}

// restored starts a real etcd over a snapshot, restored by etcd's own tool.
func restored(t *testing.T, file string) *harness.Node {
	t.Helper()
	bins, err := harness.Build()
	if err != nil {
		t.Fatal(err)
	}
	r := harness.Run(t, harness.CallLimit, t.TempDir(), nil, bins.Etcdutl, "snapshot", "status", file, "-w", "json")
	var told struct{ Version string }
	if err := json.Unmarshal([]byte(r.Out), &told); err != nil || r.Code != 0 || told.Version != "3.7.0" {
		t.Fatalf("etcdutl snapshot status: %d %s %s", r.Code, r.Out, r.Err)
	}
	n := harness.New(t, harness.Options{Binary: bins.Etcd})
	r = harness.Run(t, harness.CallLimit, t.TempDir(), nil, bins.Etcdutl, "snapshot", "restore", file, "--data-dir", n.Dir,
		"--name", "n1", "--initial-cluster", "n1="+n.PeerURL(), "--initial-advertise-peer-urls", n.PeerURL())
	if r.Code != 0 {
		t.Fatalf("etcdutl snapshot restore: %s %s", r.Out, r.Err)
	}
	n.Launch(t)
	n.WaitReady(t)
	return n
}

// portrait is everything that clients can learn of a server's content. Leases are asked for by those who know
// them: their order is of no meaning.
func portrait(t *testing.T, c *clientv3.Client, compact, rev int64, leases []clientv3.LeaseID) string {
	t.Helper()
	ctx := harness.CtxFor(t, 3*harness.CallLimit)
	out := fmt.Sprintln(hash(t, c, 0))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for at := max(compact, 1); at <= rev; at++ {
		r, err := c.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(at))
		must(err)
		for _, kv := range r.Kvs {
			out += fmt.Sprintf("%d: %q %.10q %d %d %d %x %d\n", at, kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease, len(kv.Value))
		}
	}
	watched, cancel := context.WithCancel(ctx)
	defer cancel()
	for r := range c.Watch(watched, "\x00", clientv3.WithFromKey(), clientv3.WithRev(max(compact, 1)), clientv3.WithPrevKV()) {
		for _, e := range r.Events {
			out += fmt.Sprintf("%v %q %d, before %v\n", e.Type, e.Kv.Key, e.Kv.ModRevision, e.PrevKv != nil)
		}
		if n := len(r.Events); n > 0 && r.Events[n-1].Kv.ModRevision == rev {
			break
		}
	}
	for _, id := range leases {
		r, err := c.TimeToLive(ctx, id, clientv3.WithAttachedKeys())
		must(err)
		out += fmt.Sprintf("lease %x: %d granted, %q\n", id, r.GrantedTTL, r.Keys)
	}
	users, err := c.UserList(ctx)
	must(err)
	for _, u := range users.Users {
		r, err := c.UserGet(ctx, u)
		must(err)
		out += fmt.Sprintf("user %s: %q\n", u, r.Roles)
	}
	roles, err := c.RoleList(ctx)
	must(err)
	for _, role := range roles.Roles {
		r, err := c.RoleGet(ctx, role)
		must(err)
		for _, p := range r.Perm {
			out += fmt.Sprintf("role %s: %s\n", role, prototext.Format(p))
		}
	}
	status, err := c.AuthStatus(ctx)
	must(err)
	alarms, err := c.AlarmList(ctx)
	must(err)
	return out + fmt.Sprintf("users on %v, auth revision %d, %d alarms\n", status.Enabled, status.AuthRevision, len(alarms.Alarms))
}

// furnish puts something of everything into a store.
func furnish(t *testing.T, c *clientv3.Client) (compact, rev int64, leases []clientv3.LeaseID) {
	t.Helper()
	ctx := harness.CtxFor(t, 3*harness.CallLimit)
	rng := rand.New(rand.NewPCG(4, 4))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		l, err := c.Grant(ctx, int64(1000+i))
		must(err)
		leases = append(leases, l.ID)
		_, err = c.Put(ctx, fmt.Sprintf("leased-%d", i%2), "v", clientv3.WithLease(l.ID))
		must(err)
	}
	for i := range 300 {
		key := fmt.Sprintf("key-%03d", rng.IntN(60))
		if rng.IntN(4) == 0 {
			_, err := c.Delete(ctx, key)
			must(err)
			continue
		}
		size := rng.IntN(200)
		if i%50 == 0 {
			size = 1 << 20
		}
		_, err := c.Put(ctx, key, string(make([]byte, size)))
		must(err)
		if i == 150 {
			r, err := c.Get(ctx, "x")
			must(err)
			compact = r.Header.Revision - 20
			_, err = c.Compact(ctx, compact)
			must(err)
		}
	}
	r, err := c.Put(ctx, "last", "one")
	must(err)
	for _, role := range []string{"root", "reader", "writer"} {
		_, err = c.RoleAdd(ctx, role)
		must(err)
	}
	_, err = c.RoleGrantPermission(ctx, "reader", "key-", "key.", clientv3.PermissionType(clientv3.PermRead))
	must(err)
	_, err = c.RoleGrantPermission(ctx, "writer", "last", "", clientv3.PermissionType(clientv3.PermReadWrite))
	must(err)
	_, err = c.RoleGrantPermission(ctx, "writer", "leased-", "\x00", clientv3.PermissionType(clientv3.PermWrite))
	must(err)
	for user, role := range map[string]string{"root": "root", "ann": "reader", "bob": "writer"} {
		_, err = c.UserAdd(ctx, user, "secret of "+user)
		must(err)
		_, err = c.UserGrantRole(ctx, user, role)
		must(err)
	}
	_, err = c.UserAddWithOptions(ctx, "cert", "", &clientv3.UserAddOptions{NoPassword: true})
	must(err)
	return compact, r.Header.Revision, leases
}

// TestASnapshotBecomesAnEtcd restores a snapshot with etcd's own tool and compares what the two servers say.
func TestASnapshotBecomesAnEtcd(t *testing.T) {
	t.Parallel()
	keelsonOnly(t, "it compares the product with etcd")
	ours := harness.Start(t, harness.Options{})
	c := ours.Client(t)
	compact, rev, leases := furnish(t, c)
	theirs := restored(t, saveSnapshot(t, c))
	want, got := portrait(t, c, compact, rev, leases), portrait(t, theirs.Client(t), compact, rev, leases)
	if want != got {
		t.Errorf("ours is\n%.20000s\nand etcd's is\n%.20000s", want, got)
	}

	// Passwords go along, and users can be switched on.
	if _, err := theirs.Client(t).AuthEnable(harness.Ctx(t)); err != nil {
		t.Fatal(err)
	}
	theirs.Ctl(t, "--user", "ann:secret of ann", "get", "key-001")
	if r := theirs.CtlInput(t, "", "--user", "ann:secret of ann", "get", "last"); r.Code == 0 {
		t.Error("ann reads what she may not read")
	}
	theirs.Ctl(t, "--user", "bob:secret of bob", "put", "last", "2")
}

// TestASnapshotOfAnEmptyStoreBecomesAnEtcd is the smallest one.
func TestASnapshotOfAnEmptyStoreBecomesAnEtcd(t *testing.T) {
	t.Parallel()
	keelsonOnly(t, "it compares the product with etcd")
	c := harness.Start(t, harness.Options{}).Client(t)
	theirs := restored(t, saveSnapshot(t, c)).Client(t)
	if want, got := hash(t, c, 0), hash(t, theirs, 0); want != got {
		t.Errorf("ours is %s and etcd's is %s", want, got)
	}
	if _, err := theirs.Put(harness.Ctx(t), "a", "b"); err != nil {
		t.Error(err)
	}
}
