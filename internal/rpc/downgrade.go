package rpc

import (
	"context"
	"errors"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/snapshot"
	"github.com/keelson-db/keelson/internal/state"
)

// errUnknownAction is what etcd says to an action that it does not know.
var errUnknownAction = status.Error(codes.Unknown, "etcdserver: unknown method")

// downgradeServer prepares a cluster for etcd's release before: as there, the versions that the cluster tells
// and writes into snapshots are lowered, so that such an etcd takes them.
type downgradeServer struct {
	headers
	machine *state.Machine
	replica Proposer
	targets proposing[*pb.DowngradeResponse]
	release string // the storage version of this release
}

// versions are what the cluster and its snapshots call themselves.
func (s *downgradeServer) versions() snapshot.Versions {
	v := s.release
	if target := s.machine.DowngradeTarget(); target != "" {
		v = target
	}
	return snapshot.Versions{Cluster: v, Storage: v}
}

func (s *downgradeServer) downgrade(ctx context.Context, r *pb.DowngradeRequest) (any, error) {
	cluster := s.versions().Cluster
	switch r.Action {
	case pb.DowngradeRequest_VALIDATE, pb.DowngradeRequest_ENABLE:
		target, err := s.target(ctx, r.Version)
		if err != nil {
			return nil, err
		}
		if r.Action == pb.DowngradeRequest_VALIDATE {
			break
		}
		if _, _, err := s.targets.propose(ctx, &command.Downgrade{Target: target}); err != nil {
			return nil, err
		}
	case pb.DowngradeRequest_CANCEL:
		if _, _, err := s.targets.propose(ctx, &command.Downgrade{}); err != nil {
			return nil, err
		}
	default:
		return nil, errUnknownAction
	}
	return &pb.DowngradeResponse{Header: s.now(), Version: majorMinor(cluster)}, nil
}

// target checks what a client wants to go back to.
func (s *downgradeServer) target(ctx context.Context, text string) (string, error) {
	major, minor, ok := parseVersion(text)
	if !ok {
		major, minor, ok = parseVersion(text + ".0")
	}
	if !ok {
		return "", rpctypes.ErrGRPCWrongDowngradeVersionFormat
	}
	if err := s.replica.Barrier(ctx); err != nil {
		return "", err
	}
	ourMajor, ourMinor, _ := parseVersion(s.release)
	if major != ourMajor || minor != ourMinor-1 {
		return "", rpctypes.ErrGRPCInvalidDowngradeTargetVersion
	}
	if s.machine.DowngradeTarget() != "" {
		return "", rpctypes.ErrGRPCDowngradeInProcess
	}
	return strconv.FormatInt(major, 10) + "." + strconv.FormatInt(minor, 10) + ".0", nil
}

// parseVersion reads a semantic version, of which the rest is not looked at.
func parseVersion(text string) (major, minor int64, ok bool) {
	text, _, _ = strings.Cut(text, "+")
	text, _, _ = strings.Cut(text, "-")
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return 0, 0, false
	}
	major, err1 := strconv.ParseInt(parts[0], 10, 64)
	minor, err2 := strconv.ParseInt(parts[1], 10, 64)
	_, err3 := strconv.ParseInt(parts[2], 10, 64)
	return major, minor, errors.Join(err1, err2, err3) == nil
}

func majorMinor(version string) string {
	return version[:strings.LastIndexByte(version, '.')]
}
