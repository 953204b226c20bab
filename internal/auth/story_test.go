package auth

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestStories runs the stories of testdata. Each line of a block is a command:
//
//	enable key | disable | publish | reopen | show [working] | watch | told
//	user add name [hash] [nopw] | user del name | user passwd name hash | user grant name role | user revoke name role
//	role add name | role del name | role grant name r|w|rw|none key [end] | role revoke name key [end]
//	may name[@revision] user | may name[@revision] root | may name[@revision] read|write key [end]
//
// A word in quotes is as Go reads it. May asks the group that is being applied, on behalf of somebody recognised
// just now unless a revision is given; - is nobody.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		w := newWorld(t)
		s := &story{world: w}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for _, line := range strings.Split(d.Input, "\n") {
				fmt.Fprintf(&out, "%s: %s\n", line, s.run(t, words(t, line)))
			}
			return out.String()
		})
	})
}

type story struct {
	*world
	signal <-chan struct{}
}

func words(t *testing.T, line string) []string {
	fields := strings.Fields(line)
	for i, f := range fields {
		if strings.HasPrefix(f, `"`) {
			text, err := strconv.Unquote(f)
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			fields[i] = text
		}
	}
	return append(fields, "", "") // what is left out is empty
}

func (s *story) run(t *testing.T, f []string) string {
	switch f[0] {
	case "enable":
		return s.verdict(s.Enable(s.b, []byte(f[1])))
	case "disable":
		return s.verdict(s.Disable(s.b))
	case "user":
		return s.verdict(s.user(t, f[1], f[2:]))
	case "role":
		return s.verdict(s.role(t, f[1], f[2:]))
	case "may":
		return s.may(t, f[1], f[2:])
	case "publish":
		s.publish()
		return "done"
	case "reopen":
		s.reopen()
		return "done"
	case "watch":
		s.signal = s.Changed()
		return "watching"
	case "told":
		select {
		case <-s.signal:
			return "yes"
		default:
			return "no"
		}
	case "show":
		if f[1] == "working" {
			return render(s.Working())
		}
		return render(s.View())
	}
	t.Fatalf("unknown command %q", f[0])
	return ""
}

func (s *story) verdict(err error) string {
	if err != nil && !IsVerdict(err) {
		s.t.Fatalf("%v is no verdict", err)
	}
	if err != nil {
		return "refused: " + err.Error()
	}
	return fmt.Sprintf("revision %d", s.Working().Revision())
}

func (s *story) user(t *testing.T, verb string, f []string) error {
	switch verb {
	case "add":
		if f[1] == "nopw" {
			return s.AddUser(s.b, f[0], nil, true)
		}
		return s.AddUser(s.b, f[0], []byte(f[1]), f[2] == "nopw")
	case "del":
		return s.DeleteUser(s.b, f[0])
	case "passwd":
		return s.ChangePassword(s.b, f[0], []byte(f[1]))
	case "grant":
		return s.GrantRole(s.b, f[0], f[1])
	case "revoke":
		return s.RevokeRole(s.b, f[0], f[1])
	}
	t.Fatalf("unknown verb %q of users", verb)
	return nil
}

func (s *story) role(t *testing.T, verb string, f []string) error {
	switch verb {
	case "add":
		return s.AddRole(s.b, f[0])
	case "del":
		return s.DeleteRole(s.b, f[0])
	case "grant":
		p := Permission{Key: []byte(f[2]), End: []byte(f[3]), Read: strings.Contains(f[1], "r"), Write: strings.Contains(f[1], "w")}
		return s.GrantPermission(s.b, f[0], p)
	case "revoke":
		return s.RevokePermission(s.b, f[0], []byte(f[1]), []byte(f[2]))
	}
	t.Fatalf("unknown verb %q of roles", verb)
	return nil
}

func (s *story) may(t *testing.T, who string, f []string) string {
	v := s.Working()
	name, rev, given := strings.Cut(who, "@")
	by := Identity{User: name, Rev: v.Revision()}
	if given {
		n, err := strconv.ParseUint(rev, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		by.Rev = n
	}
	if name == "-" {
		by = Identity{}
	}
	var err error
	switch f[0] {
	case "user":
		err = v.CheckUser(by)
	case "root":
		err = v.CheckRoot(by)
	case "read":
		err = v.CheckRange(by, Read, []byte(f[1]), []byte(f[2]))
	case "write":
		err = v.CheckRange(by, Write, []byte(f[1]), []byte(f[2]))
	default:
		t.Fatalf("unknown question %q", f[0])
	}
	if err != nil {
		return "no: " + err.Error()
	}
	return "yes"
}

// render writes everything that a view tells.
func render(v *View) string {
	var out strings.Builder
	fmt.Fprintf(&out, "users %s, revision %d, key %q", map[bool]string{false: "off", true: "on"}[v.Enabled()], v.Revision(), v.Key())
	for _, name := range v.Users() {
		u, _ := v.User(name)
		fmt.Fprintf(&out, "\n  user %q: roles %q, epoch %d, hash %q", u.Name, u.Roles, u.Epoch, u.Hash)
		if u.NoPassword {
			out.WriteString(", no password")
		}
	}
	for _, name := range v.Roles() {
		r, _ := v.Role(name)
		fmt.Fprintf(&out, "\n  role %q:", r.Name)
		for _, p := range r.Permissions {
			fmt.Fprintf(&out, " %s%s %q..%q", map[bool]string{true: "r"}[p.Read], map[bool]string{true: "w"}[p.Write], p.Key, p.End)
		}
	}
	return out.String()
}
