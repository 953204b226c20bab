package rpc

import (
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-db/keelson/internal/lock/electionpb"
	"github.com/keelson-db/keelson/internal/lock/lockpb"
)

// Leases with what hangs on them.
const (
	leaseOfK      = 7
	leaseOfL      = 8
	leaseOfSecret = 9
	emptyLease    = 10
)

// demand is what one must be allowed to do.
type demand string

const (
	nothing  demand = "nothing"
	noToken  demand = "no token, or a good one"
	toBeUser demand = "to be a user"
	readK    demand = "to read k"
	writeK   demand = "to write k"
	inRange  demand = "to read and write from k to n" // or some of that which nobody else may
	toBeRoot demand = "to be root"
)

func (d demand) lets(who string) bool {
	may := map[demand][]string{
		nothing: people(), noToken: {nobody, plain, reader, writer, ranger, root}, toBeUser: {plain, reader, writer, ranger, root},
		readK: {reader, ranger, root}, writeK: {writer, ranger, root}, inRange: {ranger, root}, toBeRoot: {root},
	}
	return slices.Contains(may[d], who)
}

// need is one thing to ask for with a field, and who gets it.
type need struct {
	who     demand
	message proto.Message
	alone   bool // it changes too much: each asks in a town of their own
}

func one(who demand, messages ...proto.Message) (list []need) {
	for _, m := range messages {
		list = append(list, need{who: who, message: m})
	}
	return list
}

func join(lists ...[]need) []need { return slices.Concat(lists...) }

// containers are what messages cannot do without when only something within them is asked for.
func containers() map[string]proto.Message {
	return map[string]proto.Message{
		"AuthUserAddRequest":             &pb.AuthUserAddRequest{Name: "somebody"},
		"AuthRoleGrantPermissionRequest": &pb.AuthRoleGrantPermissionRequest{Name: reader},
	}
}

// rightsRows says of every field of every request what it takes to use it.
func rightsRows() map[string][]need {
	all := map[string][]need{}
	for _, table := range []map[string][]need{
		rangeRows(), writeRows(), txnRows(), watchRows(), leaseRows(), memberRows(), authRows(), recipeRows(),
	} {
		for row, needs := range table {
			all[row] = needs
		}
	}
	return all
}

var (
	keyK, keyL, keySecret, keyN, keyO, toTheEnd = []byte("k"), []byte("l"), []byte("secret"), []byte("n"), []byte("o"), []byte{0}
)

func rangeRows() map[string][]need {
	type r = pb.RangeRequest
	return map[string][]need{
		"RangeRequest.key": join(one(readK, &r{Key: keyK}), one(inRange, &r{Key: keyL}), one(toBeRoot, &r{Key: keySecret})),
		"RangeRequest.range_end": join(
			one(inRange, &r{Key: keyK, RangeEnd: keyL}, &r{Key: keyK, RangeEnd: keyN}, &r{Key: keyL, RangeEnd: []byte("m")}),
			one(toBeRoot, &r{Key: keyK, RangeEnd: keyO}, &r{Key: keyK, RangeEnd: toTheEnd}, &r{Key: toTheEnd, RangeEnd: toTheEnd},
				&r{Key: []byte("a"), RangeEnd: keyN}),
		),
		"RangeRequest.limit":               one(readK, &r{Key: keyK, Limit: 1}),
		"RangeRequest.revision":            one(readK, &r{Key: keyK, Revision: 1}, &r{Key: keyK, Revision: 1 << 40}),
		"RangeRequest.sort_order":          one(readK, &r{Key: keyK, SortOrder: pb.RangeRequest_ASCEND}),
		"RangeRequest.sort_target":         one(readK, &r{Key: keyK, SortTarget: pb.RangeRequest_VALUE}),
		"RangeRequest.serializable":        one(readK, &r{Key: keyK, Serializable: true}),
		"RangeRequest.keys_only":           one(readK, &r{Key: keyK, KeysOnly: true}),
		"RangeRequest.count_only":          one(readK, &r{Key: keyK, CountOnly: true}),
		"RangeRequest.min_mod_revision":    one(readK, &r{Key: keyK, MinModRevision: 1}),
		"RangeRequest.max_mod_revision":    one(readK, &r{Key: keyK, MaxModRevision: 1}),
		"RangeRequest.min_create_revision": one(readK, &r{Key: keyK, MinCreateRevision: 1}),
		"RangeRequest.max_create_revision": one(readK, &r{Key: keyK, MaxCreateRevision: 1}),
	}
}

func writeRows() map[string][]need {
	type p = pb.PutRequest
	type d = pb.DeleteRangeRequest
	return map[string][]need{
		"PutRequest.key":   join(one(writeK, &p{Key: keyK}), one(inRange, &p{Key: keyL}), one(toBeRoot, &p{Key: keySecret})),
		"PutRequest.value": one(writeK, &p{Key: keyK, Value: []byte("v")}),
		"PutRequest.lease": join(
			one(writeK, &p{Key: keyK, Lease: leaseOfK}, &p{Key: keyK, Lease: emptyLease}, &p{Key: keyK, Lease: 404}),
			one(inRange, &p{Key: keyK, Lease: leaseOfL}), one(toBeRoot, &p{Key: keyK, Lease: leaseOfSecret}),
		),
		"PutRequest.prev_kv":      one(inRange, &p{Key: keyK, PrevKv: true}),
		"PutRequest.ignore_value": one(writeK, &p{Key: keyK, IgnoreValue: true}),
		"PutRequest.ignore_lease": one(writeK, &p{Key: keyK, IgnoreLease: true}),

		"DeleteRangeRequest.key": join(one(writeK, &d{Key: keyK}), one(inRange, &d{Key: keyL}), one(toBeRoot, &d{Key: keySecret})),
		"DeleteRangeRequest.range_end": join(
			one(inRange, &d{Key: keyK, RangeEnd: keyL}),
			one(toBeRoot, &d{Key: keyK, RangeEnd: keyO}, &d{Key: keyK, RangeEnd: toTheEnd}, &d{Key: toTheEnd, RangeEnd: toTheEnd}),
		),
		"DeleteRangeRequest.prev_kv": one(inRange, &d{Key: keyK, PrevKv: true}),

		"CompactionRequest.revision": one(toBeRoot, &pb.CompactionRequest{Revision: 1 << 40}),
		"CompactionRequest.physical": one(toBeRoot, &pb.CompactionRequest{Revision: 1 << 40, Physical: true}),
	}
}

func txnRows() map[string][]need {
	type c = pb.Compare
	return map[string][]need{
		"Compare.result": one(readK, &c{Key: keyK, Result: pb.Compare_NOT_EQUAL}),
		"Compare.target": one(readK, &c{Key: keyK, Target: pb.Compare_MOD}),
		"Compare.key":    join(one(readK, &c{Key: keyK}), one(inRange, &c{Key: keyL}), one(toBeRoot, &c{Key: keySecret})),
		"Compare.range_end": join(
			one(inRange, &c{Key: keyK, RangeEnd: keyL}),
			one(toBeRoot, &c{Key: keyK, RangeEnd: keyO}, &c{Key: keyK, RangeEnd: toTheEnd}),
		),
		"Compare.version":         one(readK, &c{Key: keyK, TargetUnion: &pb.Compare_Version{Version: 1}}),
		"Compare.create_revision": one(readK, &c{Key: keyK, Target: pb.Compare_CREATE, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 1}}),
		"Compare.mod_revision":    one(readK, &c{Key: keyK, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 1}}),
		"Compare.value":           one(readK, &c{Key: keyK, Target: pb.Compare_VALUE, TargetUnion: &pb.Compare_Value{Value: []byte("v")}}),
		"Compare.lease":           one(readK, &c{Key: keyK, Target: pb.Compare_LEASE, TargetUnion: &pb.Compare_Lease{Lease: leaseOfSecret}}),
	}
}

func watchRows() map[string][]need {
	type w = pb.WatchCreateRequest
	return map[string][]need{
		"WatchCreateRequest.key": join(
			one(readK, &w{Key: keyK}), one(inRange, &w{Key: keyL}), one(toBeRoot, &w{Key: keySecret}, &w{}),
		),
		"WatchCreateRequest.range_end": join(
			one(inRange, &w{Key: keyK, RangeEnd: keyL}),
			one(toBeRoot, &w{Key: keyK, RangeEnd: keyO}, &w{Key: keyK, RangeEnd: toTheEnd}, &w{Key: toTheEnd, RangeEnd: toTheEnd}, &w{RangeEnd: toTheEnd}),
		),
		"WatchCreateRequest.start_revision":  one(readK, &w{Key: keyK, StartRevision: 1}),
		"WatchCreateRequest.progress_notify": one(readK, &w{Key: keyK, ProgressNotify: true}),
		"WatchCreateRequest.filters":         one(readK, &w{Key: keyK, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}}),
		"WatchCreateRequest.prev_kv":         one(readK, &w{Key: keyK, PrevKv: true}),
		"WatchCreateRequest.watch_id":        one(readK, &w{Key: keyK, WatchId: 3}),
		"WatchCreateRequest.fragment":        one(readK, &w{Key: keyK, Fragment: true}),
		"WatchCancelRequest.watch_id":        one(nothing, &pb.WatchCancelRequest{WatchId: 1}),
		"WatchProgressRequest":               one(nothing, &pb.WatchProgressRequest{}),
	}
}

func leaseRows() map[string][]need {
	return map[string][]need{
		"LeaseGrantRequest.TTL": one(toBeUser, &pb.LeaseGrantRequest{TTL: 60}, &pb.LeaseGrantRequest{TTL: 1 << 40}),
		"LeaseGrantRequest.ID":  one(toBeUser, &pb.LeaseGrantRequest{TTL: 60, ID: leaseOfSecret}),
		"LeaseRevokeRequest.ID": join(
			one(toBeUser, &pb.LeaseRevokeRequest{ID: emptyLease}, &pb.LeaseRevokeRequest{ID: 404}),
			one(writeK, &pb.LeaseRevokeRequest{ID: leaseOfK}), one(inRange, &pb.LeaseRevokeRequest{ID: leaseOfL}),
			one(toBeRoot, &pb.LeaseRevokeRequest{ID: leaseOfSecret}),
		),
		"LeaseKeepAliveRequest.ID": join(
			one(toBeUser, &pb.LeaseKeepAliveRequest{ID: emptyLease}, &pb.LeaseKeepAliveRequest{ID: 404}),
			one(writeK, &pb.LeaseKeepAliveRequest{ID: leaseOfK}), one(toBeRoot, &pb.LeaseKeepAliveRequest{ID: leaseOfSecret}),
		),
		"LeaseTimeToLiveRequest.ID": one(toBeUser, &pb.LeaseTimeToLiveRequest{ID: leaseOfSecret}, &pb.LeaseTimeToLiveRequest{ID: 404}),
		"LeaseTimeToLiveRequest.keys": join(
			one(toBeUser, &pb.LeaseTimeToLiveRequest{ID: emptyLease, Keys: true}),
			one(readK, &pb.LeaseTimeToLiveRequest{ID: leaseOfK, Keys: true}),
			one(toBeRoot, &pb.LeaseTimeToLiveRequest{ID: leaseOfSecret, Keys: true}),
		),
		"LeaseLeasesRequest": one(toBeRoot, &pb.LeaseLeasesRequest{}), // because of the secret
	}
}

func memberRows() map[string][]need {
	type alarm = pb.AlarmRequest
	another := []string{"http://another:1"}
	return map[string][]need{
		"MemberListRequest.linearizable": one(toBeUser, &pb.MemberListRequest{}, &pb.MemberListRequest{Linearizable: true}),
		"MemberAddRequest.peerURLs": join(one(nothing, &pb.MemberAddRequest{}, &pb.MemberAddRequest{PeerURLs: []string{"none"}}),
			[]need{{who: toBeRoot, message: &pb.MemberAddRequest{PeerURLs: another}, alone: true}}),
		"MemberAddRequest.isLearner":   {{who: toBeRoot, message: &pb.MemberAddRequest{PeerURLs: another, IsLearner: true}, alone: true}},
		"MemberRemoveRequest.ID":       one(toBeRoot, &pb.MemberRemoveRequest{ID: 404}, &pb.MemberRemoveRequest{ID: houseMember}),
		"MemberUpdateRequest.ID":       one(toBeRoot, &pb.MemberUpdateRequest{ID: 404}, &pb.MemberUpdateRequest{ID: houseMember}),
		"MemberUpdateRequest.peerURLs": one(toBeRoot, &pb.MemberUpdateRequest{ID: houseMember, PeerURLs: another}),
		"MemberPromoteRequest.ID":      one(toBeRoot, &pb.MemberPromoteRequest{ID: 404}, &pb.MemberPromoteRequest{ID: houseMember}),

		"StatusRequest": one(toBeUser, &pb.StatusRequest{}),
		"AlarmRequest.action": join(one(toBeUser, &alarm{}),
			one(toBeRoot, &alarm{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE}, &alarm{Action: pb.AlarmRequest_ACTIVATE}, &alarm{Action: 99})),
		"AlarmRequest.memberID": join(one(toBeUser, &alarm{MemberID: 1}), one(toBeRoot, &alarm{Action: pb.AlarmRequest_DEACTIVATE, MemberID: 1})),
		"AlarmRequest.alarm":    one(toBeUser, &alarm{Alarm: pb.AlarmType_NOSPACE}),

		"DefragmentRequest":          one(toBeRoot, &pb.DefragmentRequest{}),
		"HashRequest":                one(toBeRoot, &pb.HashRequest{}),
		"HashKVRequest.revision":     one(toBeRoot, &pb.HashKVRequest{}, &pb.HashKVRequest{Revision: 2}),
		"SnapshotRequest":            one(toBeRoot, &pb.SnapshotRequest{}),
		"MoveLeaderRequest.targetID": one(toBeRoot, &pb.MoveLeaderRequest{TargetID: 1}),
		"DowngradeRequest.action":    one(toBeRoot, &pb.DowngradeRequest{}, &pb.DowngradeRequest{Action: pb.DowngradeRequest_CANCEL}),
		"DowngradeRequest.version":   one(toBeRoot, &pb.DowngradeRequest{Version: "3.5"}),

		"HealthCheckRequest.service": one(nothing, &healthpb.HealthCheckRequest{}),
		"HealthListRequest":          one(nothing, &healthpb.HealthListRequest{}),
	}
}

func authRows() map[string][]need {
	type permission = authpb.Permission
	return map[string][]need{
		"AuthEnableRequest":            one(toBeRoot, &pb.AuthEnableRequest{}),
		"AuthDisableRequest":           {{who: toBeRoot, message: &pb.AuthDisableRequest{}, alone: true}},
		"AuthStatusRequest":            one(noToken, &pb.AuthStatusRequest{}),
		"AuthenticateRequest.name":     one(nothing, &pb.AuthenticateRequest{Name: reader}),
		"AuthenticateRequest.password": one(nothing, &pb.AuthenticateRequest{Name: reader, Password: reader}),

		"AuthUserAddRequest.name":           one(toBeRoot, &pb.AuthUserAddRequest{Name: "somebody"}),
		"AuthUserAddRequest.password":       one(toBeRoot, &pb.AuthUserAddRequest{Name: "somebody", Password: "x"}),
		"AuthUserAddRequest.hashedPassword": one(toBeRoot, &pb.AuthUserAddRequest{Name: "somebody", HashedPassword: "eA=="}),
		"UserAddOptions.no_password":        one(toBeRoot, &authpb.UserAddOptions{NoPassword: true}),
		"AuthUserGetRequest.name":           one(toBeRoot, &pb.AuthUserGetRequest{Name: root}, &pb.AuthUserGetRequest{}),
		"AuthUserListRequest":               one(toBeRoot, &pb.AuthUserListRequest{}),
		"AuthUserDeleteRequest.name":        one(toBeRoot, &pb.AuthUserDeleteRequest{Name: "no-one"}),

		"AuthUserChangePasswordRequest.name":           one(toBeRoot, &pb.AuthUserChangePasswordRequest{Name: "no-one"}),
		"AuthUserChangePasswordRequest.password":       one(toBeRoot, &pb.AuthUserChangePasswordRequest{Name: "no-one", Password: "x"}),
		"AuthUserChangePasswordRequest.hashedPassword": one(toBeRoot, &pb.AuthUserChangePasswordRequest{Name: "no-one", HashedPassword: "eA=="}),

		"AuthUserGrantRoleRequest.user":  one(toBeRoot, &pb.AuthUserGrantRoleRequest{User: "no-one", Role: root}),
		"AuthUserGrantRoleRequest.role":  one(toBeRoot, &pb.AuthUserGrantRoleRequest{User: plain, Role: "none"}),
		"AuthUserRevokeRoleRequest.name": one(toBeRoot, &pb.AuthUserRevokeRoleRequest{Name: "no-one", Role: root}),
		"AuthUserRevokeRoleRequest.role": one(toBeRoot, &pb.AuthUserRevokeRoleRequest{Name: reader, Role: "none"}),

		"AuthRoleAddRequest.name":    one(toBeRoot, &pb.AuthRoleAddRequest{Name: "some"}),
		"AuthRoleGetRequest.role":    one(toBeRoot, &pb.AuthRoleGetRequest{Role: "none"}, &pb.AuthRoleGetRequest{}),
		"AuthRoleListRequest":        one(toBeRoot, &pb.AuthRoleListRequest{}),
		"AuthRoleDeleteRequest.role": one(toBeRoot, &pb.AuthRoleDeleteRequest{Role: "none"}),

		"AuthRoleGrantPermissionRequest.name": one(toBeRoot, &pb.AuthRoleGrantPermissionRequest{Name: "none", Perm: &permission{Key: keyK}}),
		"Permission.permType":                 one(toBeRoot, &permission{PermType: authpb.Permission_READ, Key: keyK}),
		"Permission.key":                      one(toBeRoot, &permission{Key: keyK}),
		"Permission.range_end":                one(toBeRoot, &permission{Key: keyO, RangeEnd: []byte("p")}),

		"AuthRoleRevokePermissionRequest.role":      one(toBeRoot, &pb.AuthRoleRevokePermissionRequest{Role: "none", Key: keyK}),
		"AuthRoleRevokePermissionRequest.key":       one(toBeRoot, &pb.AuthRoleRevokePermissionRequest{Role: reader, Key: keyL}),
		"AuthRoleRevokePermissionRequest.range_end": one(toBeRoot, &pb.AuthRoleRevokePermissionRequest{Role: reader, Key: keyK, RangeEnd: keyL}),
	}
}

// recipeRows are about the services that everybody may call: what stands there is what their steps need.
func recipeRows() map[string][]need {
	type leader = electionpb.LeaderKey
	lost := func(change func(*leader)) proto.Message { // a leader that leads no longer
		l := &leader{Name: keyK, Key: keyK, Rev: 1 << 40, Lease: leaseOfK}
		change(l)
		return l
	}
	return map[string][]need{
		"LockRequest.name":  join(one(inRange, &lockpb.LockRequest{Name: keyK}), one(toBeRoot, &lockpb.LockRequest{Name: keySecret})),
		"LockRequest.lease": join(one(inRange, &lockpb.LockRequest{Name: keyK, Lease: emptyLease}), one(toBeRoot, &lockpb.LockRequest{Name: keyK, Lease: leaseOfSecret})),
		"UnlockRequest.key": join(one(writeK, &lockpb.UnlockRequest{Key: keyK}), one(toBeRoot, &lockpb.UnlockRequest{Key: keySecret})),

		"CampaignRequest.name":  join(one(inRange, &electionpb.CampaignRequest{Name: keyK}), one(toBeRoot, &electionpb.CampaignRequest{Name: keySecret})),
		"CampaignRequest.lease": one(toBeRoot, &electionpb.CampaignRequest{Name: keyK, Lease: leaseOfSecret}),
		"CampaignRequest.value": one(inRange, &electionpb.CampaignRequest{Name: keyK, Value: []byte("v")}),
		"ProclaimRequest.value": one(inRange, &electionpb.ProclaimRequest{Leader: lost(func(*leader) {}).(*leader), Value: []byte("v")}),
		"LeaderKey.name":        one(inRange, lost(func(l *leader) { l.Name = keySecret })), // of no consequence
		"LeaderKey.key":         join(one(inRange, lost(func(*leader) {})), one(toBeRoot, lost(func(l *leader) { l.Key = keySecret }))),
		"LeaderKey.rev":         one(inRange, lost(func(l *leader) { l.Rev = 1 })),
		"LeaderKey.lease":       one(inRange, lost(func(l *leader) { l.Lease = emptyLease })),
		"LeaderRequest.name":    join(one(inRange, &electionpb.LeaderRequest{Name: []byte("m")}), one(toBeRoot, &electionpb.LeaderRequest{Name: keySecret})),
	}
}
