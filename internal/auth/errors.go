package auth

import "errors"

// Why something is refused. Each is a verdict that every member reaches.
var (
	ErrRootUserNotExist     = errors.New("there is no user root")
	ErrRootRoleNotExist     = errors.New("the user root does not have the role root")
	ErrUserExists           = errors.New("the user exists already")
	ErrUserEmpty            = errors.New("no user is named")
	ErrUserNotFound         = errors.New("there is no such user")
	ErrRoleExists           = errors.New("the role exists already")
	ErrRoleNotFound         = errors.New("there is no such role")
	ErrRoleEmpty            = errors.New("no role is named")
	ErrPermissionDenied     = errors.New("permission denied")
	ErrRoleNotGranted       = errors.New("the user does not have that role")
	ErrPermissionNotGiven   = errors.New("no permission is given")
	ErrPermissionNotGranted = errors.New("the role does not have that permission")
	ErrInvalidManagement    = errors.New("users cannot be managed so")
	ErrOldRevision          = errors.New("the identity is older than the users and roles")
)

// IsVerdict reports whether err is one of this room's verdicts.
func IsVerdict(err error) bool {
	for _, v := range [...]error{
		ErrRootUserNotExist, ErrRootRoleNotExist, ErrUserExists, ErrUserEmpty, ErrUserNotFound, ErrRoleExists, ErrRoleNotFound,
		ErrRoleEmpty, ErrPermissionDenied, ErrRoleNotGranted, ErrPermissionNotGiven, ErrPermissionNotGranted,
		ErrInvalidManagement, ErrOldRevision,
	} {
		if errors.Is(err, v) {
			return true
		}
	}
	return false
}
