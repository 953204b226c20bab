package state

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// TestAHashIsReadOnlyForAUserWhoCanHaveOne sends hashes that cannot be read.
func TestAHashIsReadOnlyForAUserWhoCanHaveOne(t *testing.T) {
	w := newWorld(t, vfs.NewMem(), mvcc.Options{})
	w.one(&pb.AuthUserAddRequest{Name: "ann", HashedPassword: hashText("one")})
	w.one(&pb.AuthUserAddRequest{Name: "robot", Options: &authpb.UserAddOptions{NoPassword: true}})
	for name, want := range map[string]error{"nobody": auth.ErrUserNotFound, "ann": ErrBadHash, "robot": nil} {
		if r := w.one(&pb.AuthUserChangePasswordRequest{Name: name, HashedPassword: "no base64"}); !errors.Is(r.Err, want) {
			t.Errorf("%s: %v, want %v", name, r.Err, want)
		}
	}
	robot, _ := w.m.Auth().View().User("robot")
	if !robot.NoPassword || len(robot.Hash) != 0 || robot.Epoch != 4 {
		t.Errorf("%+v", robot)
	}
}
