package token

import (
	"context"
	"errors"
	"time"

	"github.com/keelson-db/keelson/internal/auth"
)

// Errors of this room.
var (
	// ErrInvalid means that a token is unknown, expired or malformed.
	ErrInvalid = errors.New("invalid auth token")
	// ErrFailed means that user and password do not belong together.
	ErrFailed = errors.New("authentication failed")
	// ErrNoPassword means that a password was given for a user that has none.
	ErrNoPassword = errors.New("auth: authentication failed, password was given for no password user")
	// ErrVerifyOnly means that this server can check tokens and not give any out.
	ErrVerifyOnly = errors.New("auth: token signing attempted with verify-only key")
	// ErrBusy means that too many logins wait.
	ErrBusy = errors.New("too many logins wait")
)

// Options are what an Authority is built from.
type Options struct {
	// Spec is the value of --auth-token: "simple", or "jwt,sign-method=RS256,pub-key=...".
	Spec string
	// SimpleTTL is how long a simple token lives without being used.
	SimpleTTL time.Duration
	// Cost is bcrypt's, for new passwords.
	Cost int
}

// Authority knows passwords and tokens.
type Authority struct{}

// New builds an authority; the error says what is wrong with the options, or with the keys that they name.
func New(o Options) (*Authority, error) { return &Authority{}, nil }

// CheckSpec says what is wrong with a value of --auth-token, without reading the files that it names.
func CheckSpec(spec string) error { return nil }

// Hash makes the hash of a new password.
func (a *Authority) Hash(ctx context.Context, password string) ([]byte, error) { return nil, nil }

// Login checks a password and returns a token for its user. The view must be younger than the call.
func (a *Authority) Login(ctx context.Context, v *auth.View, user, password string) (string, error) {
	return "", nil
}

// Identify tells whose a token is.
func (a *Authority) Identify(v *auth.View, token string) (auth.Identity, error) {
	return auth.Identity{}, nil
}
