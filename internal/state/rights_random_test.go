package state

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// TestRightsAreTheSameOnEveryMember applies commands of everybody, about users, alarms and keys, one by one on the
// member that proposed them, and on another as they come from the log, in groups of any size and with restarts.
func TestRightsAreTheSameOnEveryMember(t *testing.T) {
	for seed := range uint64(20) {
		d := rightsDice{rand.New(rand.NewPCG(seed, 1))}
		here, there := newWorld(t, vfs.NewMem(), mvcc.Options{}), newWorld(t, vfs.NewMem(), mvcc.Options{})
		var said []string
		for range 400 {
			said = append(said, told(here.one(d.signed())))
		}
		there.log = here.log
		for done := 0; done < len(there.log); {
			to := min(done+1+d.IntN(40), len(there.log))
			there.m.Begin()
			for i := done; i < to; i++ {
				r, err := there.m.Apply(decode(t, there.log[i]))
				there.must(err)
				if got := told(r); got != said[i] {
					t.Fatalf("seed %d, command %d: %s, and on another member %s", seed, i, said[i], got)
				}
			}
			there.must(there.m.Commit(at(to)))
			if d.IntN(5) == 0 {
				there.restart(there.fs) // what the engine had not written out is applied again
			}
			done = len(there.log) - there.missing()
		}
		if here.whole() != there.whole() {
			t.Fatalf("seed %d: members differ: %s", seed, firstDifference(here.whole(), there.whole()))
		}
	}
}

func told(r Result) string { return fmt.Sprint(r.Rev, " ", r.Err, " ", r.Response) }

// rightsDice draws commands.
type rightsDice struct{ *rand.Rand }

func (d rightsDice) of(list ...string) string { return list[d.IntN(len(list))] }

func (d rightsDice) user() string { return d.of("root", "ann", "bob", "eve") }

func (d rightsDice) role() string { return d.of("root", "reader", "writer") }

func (d rightsDice) key() []byte { return []byte(d.of("a", "b", "c", "d")) }

// signed is a command of somebody, mostly of root as it is known now.
func (d rightsDice) signed() command.Op {
	op := d.op()
	switch d.IntN(10) {
	case 0:
		return op
	case 1:
		return command.Signed{By: command.Identity{Member: true}, Op: op}
	case 2:
		return command.Signed{By: command.Identity{User: d.user(), AuthRev: uint64(d.IntN(100))}, Op: op}
	case 3, 4:
		return command.Signed{By: command.Identity{User: d.user(), AuthRev: 1 << 40}, Op: op}
	}
	return command.Signed{By: command.Identity{User: "root", AuthRev: 1 << 40}, Op: op}
}

func (d rightsDice) op() command.Op {
	switch d.IntN(14) {
	case 0:
		return &pb.AlarmRequest{Action: pb.AlarmRequest_AlarmAction(1 + d.IntN(2)), MemberID: uint64(d.IntN(2)), Alarm: pb.AlarmType(d.IntN(3))}
	case 1:
		return &pb.LeaseGrantRequest{ID: int64(1 + d.IntN(3)), TTL: 60}
	case 2:
		return &command.LeaseRevoke{IDs: []int64{int64(1 + d.IntN(3))}, Expired: d.IntN(2) == 0}
	case 3:
		return &command.Downgrade{Target: d.of("", "3.6.0")}
	case 4, 5, 6, 7:
		return &pb.PutRequest{Key: d.key(), Lease: int64(d.IntN(3)), PrevKv: d.IntN(2) == 0}
	}
	return d.authOp()
}

func (d rightsDice) authOp() command.Op {
	switch d.IntN(11) {
	case 0:
		return &pb.AuthUserAddRequest{Name: d.user(), HashedPassword: hashText("x"), Options: &authpb.UserAddOptions{NoPassword: d.IntN(2) == 0}}
	case 1:
		return &pb.AuthUserDeleteRequest{Name: d.user()}
	case 2:
		return &pb.AuthUserChangePasswordRequest{Name: d.user(), HashedPassword: hashText(d.of("y", "z"))}
	case 3, 4:
		return &pb.AuthUserGrantRoleRequest{User: d.user(), Role: d.role()}
	case 5:
		return &pb.AuthUserRevokeRoleRequest{Name: d.user(), Role: d.role()}
	case 6:
		return &pb.AuthRoleAddRequest{Name: d.role()}
	case 7:
		return &pb.AuthRoleDeleteRequest{Role: d.role()}
	case 8:
		return &command.AuthEnable{Key: d.key()}
	case 9:
		return &pb.AuthDisableRequest{}
	}
	return &pb.AuthRoleGrantPermissionRequest{Name: d.role(), Perm: &authpb.Permission{
		PermType: authpb.Permission_Type(d.IntN(3)), Key: d.key(), RangeEnd: d.key(),
	}}
}
