package state

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/command"
)

// rightsOp reads the commands that are about users, roles and alarms, and those with an author:
//
//	as user[@revision] command... | as member command... | as nobody command...
//	auth on key | auth off
//	user add name [hash] [no_password] | user del name | user passwd name hash | user grant name role | user revoke name role
//	role add name | role del name | role grant name read|write|readwrite key [end] | role revoke name key [end]
//	alarm on|off member nospace|corrupt|none
//	downgrade [target]
//
// It returns nil for any other.
func (s *script) rightsOp(f []string) command.Op {
	switch f[0] {
	case "as":
		return s.signed(f[1], f[2:])
	case "auth":
		if f[1] == "on" {
			return &command.AuthEnable{Key: []byte(f[2])}
		}
		return &pb.AuthDisableRequest{}
	case "user":
		return s.userOp(f[1], f[2:])
	case "role":
		return s.roleOp(f[1], f[2:])
	case "alarm":
		r := &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: uint64(s.number(f[2])),
			Alarm: pb.AlarmType(pb.AlarmType_value[strings.ToUpper(f[3])])}
		if f[1] == "off" {
			r.Action = pb.AlarmRequest_DEACTIVATE
		}
		return r
	case "downgrade":
		return &command.Downgrade{Target: strings.Join(f[1:], "")}
	}
	return nil
}

// signed takes the rest of the line, and what is indented below it, as a command with an author.
func (s *script) signed(who string, rest []string) command.Op {
	s.lines = append([]string{strings.Join(rest, " ")}, s.lines...)
	by := command.Identity{Member: who == "member"}
	if who != "member" && who != "nobody" {
		name, rev, _ := strings.Cut(who, "@")
		by.User, by.AuthRev = name, 1<<40
		if rev != "" {
			by.AuthRev = uint64(s.number(rev))
		}
	}
	return command.Signed{By: by, Op: s.op()}
}

func hashText(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func (s *script) userOp(verb string, f []string) command.Op {
	switch verb {
	case "add":
		a := parseArgs(f)
		r := &pb.AuthUserAddRequest{Name: string(word(f[0])), Options: &authpb.UserAddOptions{NoPassword: a.flags["no_password"]}}
		if len(a.plain) > 1 {
			r.HashedPassword = hashText(a.plain[1])
		}
		return r
	case "del":
		return &pb.AuthUserDeleteRequest{Name: f[0]}
	case "passwd":
		return &pb.AuthUserChangePasswordRequest{Name: f[0], HashedPassword: hashText(f[1])}
	case "grant":
		return &pb.AuthUserGrantRoleRequest{User: f[0], Role: f[1]}
	case "revoke":
		return &pb.AuthUserRevokeRoleRequest{Name: f[0], Role: f[1]}
	}
	s.t.Fatalf("unknown verb %q of users", verb)
	return nil
}

func (s *script) roleOp(verb string, f []string) command.Op {
	switch verb {
	case "add":
		return &pb.AuthRoleAddRequest{Name: string(word(f[0]))}
	case "del":
		return &pb.AuthRoleDeleteRequest{Role: f[0]}
	case "grant":
		a := parseArgs(f[2:])
		return &pb.AuthRoleGrantPermissionRequest{Name: f[0], Perm: &authpb.Permission{
			PermType: authpb.Permission_Type(authpb.Permission_Type_value[strings.ToUpper(f[1])]), Key: word(a.plain[0]), RangeEnd: a.end()}}
	case "revoke":
		a := parseArgs(f[1:])
		return &pb.AuthRoleRevokePermissionRequest{Role: f[0], Key: word(a.plain[0]), RangeEnd: a.end()}
	}
	s.t.Fatalf("unknown verb %q of roles", verb)
	return nil
}

// tellRights writes what is published of users, roles and alarms.
func (s *teller) tellRights(out *strings.Builder) {
	v := s.m.Auth().View()
	fmt.Fprintf(out, "users %s, auth revision %d\n", map[bool]string{false: "off", true: "on"}[v.Enabled()], v.Revision())
	for _, name := range v.Users() {
		u, _ := v.User(name)
		fmt.Fprintf(out, "  user %s: roles %q, epoch %d, hash %q, no password %t\n", name, u.Roles, u.Epoch, u.Hash, u.NoPassword)
	}
	for _, name := range v.Roles() {
		r, _ := v.Role(name)
		fmt.Fprintf(out, "  role %s:", name)
		for _, p := range r.Permissions {
			fmt.Fprintf(out, " %s%s %q..%q", map[bool]string{true: "r"}[p.Read], map[bool]string{true: "w"}[p.Write], p.Key, p.End)
		}
		out.WriteString("\n")
	}
	for _, a := range s.m.Alarms() {
		out.WriteString("  alarm " + strconv.FormatUint(a.MemberID, 10) + " " + a.Alarm.String() + "\n")
	}
	if target := s.m.DowngradeTarget(); target != "" {
		out.WriteString("  downgrade to " + target + "\n")
	}
}
