package cluster

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-db/keelson/test/harness"
)

// TestUsersAreTheSameOnEveryMember switches users on while members are killed and restarted, and has the same calls allowed
// and refused on each: a member that has learned of users from its own disk judges like one that never stopped.
func TestUsersAreTheSameOnEveryMember(t *testing.T) {
	t.Parallel()
	c := harness.Found(t, harness.Founding{Args: quick()})
	plain := c.Client(t)
	ctx := harness.CtxFor(t, harness.SettleLimit)
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(plain.RoleAdd(ctx, "root"))
	must(plain.UserAdd(ctx, "root", "pw"))
	must(plain.UserGrantRole(ctx, "root", "root"))
	must(plain.RoleAdd(ctx, "some"))
	must(plain.RoleGrantPermission(ctx, "some", "a", "b", clientv3.PermissionType(clientv3.PermReadWrite)))
	must(plain.UserAdd(ctx, "ann", "pw"))
	must(plain.UserGrantRole(ctx, "ann", "some"))
	must(plain.AuthEnable(ctx))
	c.AskAs("root", "pw")
	for round := range rounds(2, 20) {
		for i, m := range c.Members {
			m.Kill9(t)
			root := c.ClientAs(t, "root", "pw", c.Members[(i+1)%3])
			key := fmt.Sprintf("key/%d/%d", round, i)
			// What changes while the member is away, it must judge by when it is back.
			harness.Eventually(t, harness.SettleLimit, "grant while a member is away", func() error {
				ctx, cancel := context.WithTimeout(context.Background(), harness.CallLimit)
				defer cancel()
				_, err := root.RoleGrantPermission(ctx, "some", key, "", clientv3.PermissionType(clientv3.PermReadWrite))
				return err
			})
			c.Start(t, m)
			c.WaitHealthy(t)
			for _, asked := range c.Members {
				ann := c.ClientAs(t, "ann", "pw", asked)
				if _, err := ann.Put(harness.Ctx(t), key, asked.Name); err != nil {
					t.Errorf("%s refuses what was granted: %v", asked.Name, err)
				}
				if _, err := ann.Put(harness.Ctx(t), "other", asked.Name); !errors.Is(err, rpctypes.ErrPermissionDenied) {
					t.Errorf("%s does not refuse what was not granted: %v", asked.Name, err)
				}
			}
		}
	}
	root := c.ClientAs(t, "root", "pw")
	must(root.AuthDisable(harness.Ctx(t)))
	c.AskAs("", "")
	c.WaitApplied(t, harness.SettleLimit)
	c.SameData(t, c.Members...)
}
