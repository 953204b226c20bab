package auth

// rootName is the name of the user that must be there while users are on, and of the role that may do everything.
const rootName = "root"

// Identity is who asks, and the auth revision at which they were recognised. The zero Identity is nobody.
type Identity struct {
	User string
	Rev  uint64
}

// Access is what somebody wants to do with a range.
type Access uint8

// The kinds of access.
const (
	Read Access = iota
	Write
)

// User is one user.
type User struct {
	Name       string
	Hash       []byte   // of the password, as bcrypt writes it; empty if there is none
	NoPassword bool     // the user cannot log in with a password
	Roles      []string // in order
	// Epoch is the auth revision at which the password was set last: older tokens are no longer good.
	Epoch uint64
}

// Permission lets a role read or write a range of keys, given in wire form.
type Permission struct {
	Read, Write bool
	Key, End    []byte
}

// Role is one role.
type Role struct {
	Name        string
	Permissions []Permission // by key; those of one key in the order in which they were given
}

// View is the table at one moment. It is immutable.
type View struct {
	enabled bool
	rev     uint64
	key     []byte
	users   layers[account]
	roles   layers[Role]
	merger  *merger
	digest  uint64 // sum over users and roles
}

// Enabled reports whether users are asked for.
func (v *View) Enabled() bool { return v.enabled }

// Revision is the auth revision.
func (v *View) Revision() uint64 { return v.rev }

// Key is what tokens are signed with while users are asked for. It must not be changed.
func (v *View) Key() []byte { return v.key }

// User returns a user. It must not be changed.
func (v *View) User(name string) (*User, bool) {
	if a, ok := v.users.get(name); ok {
		return &a.User, true
	}
	return nil, false
}

// Users returns the names of all users, in order.
func (v *View) Users() []string { return v.users.names() }

// Role returns a role. It must not be changed.
func (v *View) Role(name string) (*Role, bool) { return v.roles.get(name) }

// Roles returns the names of all roles, in order.
func (v *View) Roles() []string { return v.roles.names() }

// CheckUser lets pass who is known at all. While users are off, everybody passes this and every other check.
func (v *View) CheckUser(by Identity) error {
	_, err := v.known(by)
	return err
}

// CheckRoot lets pass who has the role root. Like CheckUser it does not care for the identity's revision: a role
// is looked up as it is now.
func (v *View) CheckRoot(by Identity) error {
	a, err := v.known(by)
	if err == nil && a != nil && !a.root {
		return ErrPermissionDenied
	}
	return err
}

// known returns the account of who asks, or nil while users are off.
func (v *View) known(by Identity) (*account, error) {
	if !v.enabled {
		return nil, nil
	}
	if by.User == "" {
		return nil, ErrUserEmpty
	}
	a, ok := v.users.get(by.User)
	if !ok {
		return nil, ErrUserNotFound
	}
	return a, nil
}

// CheckRange lets pass who may read or write every key of a range, given in wire form.
func (v *View) CheckRange(by Identity, access Access, key, end []byte) error {
	if !v.enabled {
		return nil
	}
	if by.User == "" || by.Rev == 0 {
		return ErrUserEmpty
	}
	if by.Rev < v.rev {
		return ErrOldRevision
	}
	a, ok := v.users.get(by.User)
	if !ok {
		return ErrPermissionDenied
	}
	if a.root {
		return nil
	}
	r := v.rightsOf(a)
	allowed := r.read
	if access == Write {
		allowed = r.write
	}
	if !allowed.covers(key, end) {
		return ErrPermissionDenied
	}
	return nil
}
