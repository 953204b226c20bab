package token

import (
	"context"
	"crypto/rand"
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

	errNoKey       = errors.New("there is no key to sign tokens with, because users are off")
	errNameTooLong = errors.New("the user's name is too long to fit into a token")
)

// KeyBytes is the length of a new key for simple tokens, in bytes.
const KeyBytes = 32

// Options are what an Authority is built from.
type Options struct {
	// Spec is the value of --auth-token: "simple", or "jwt,sign-method=RS256,pub-key=...". As in etcd, nobody gets a
	// token where it is empty.
	Spec string
	// SimpleTTL is how long a simple token lives without being used; five minutes if it is not positive.
	SimpleTTL time.Duration
	// Cost is bcrypt's, for new passwords; 10 if it is out of bcrypt's range, 4 to 31.
	Cost int
}

// kind gives out and recognises one kind of tokens.
type kind interface {
	issue(v *auth.View, u *auth.User) (string, error)
	identify(v *auth.View, token string) (auth.Identity, error)
}

// Authority knows passwords and tokens.
type Authority struct {
	passwords *passwords
	tokens    kind
}

// New builds an authority; the error says what is wrong with the options, or with the keys that they name.
func New(o Options) (*Authority, error) {
	s, err := parseSpec(o.Spec)
	if err != nil {
		return nil, err
	}
	a := &Authority{passwords: newPasswords(o.Cost)}
	switch s.kind {
	case kindJWT:
		if a.tokens, err = newJWTs(s); err != nil {
			return nil, err
		}
	case kindSimple:
		a.tokens = newSimple(o.SimpleTTL)
	default:
		a.tokens = nothing{}
	}
	return a, nil
}

// CheckSpec says what is wrong with a value of --auth-token, without reading the files that it names.
func CheckSpec(spec string) error {
	_, err := parseSpec(spec)
	return err
}

// UnknownOptions returns the options in a value of --auth-token that mean nothing, in order. As in etcd they are
// worth a warning and not an error.
func UnknownOptions(spec string) []string {
	s, err := parseSpec(spec)
	if err != nil {
		return nil
	}
	return s.unknown
}

// NewKey draws a key for simple tokens, to be replicated when users are switched on.
func NewKey() []byte {
	key := make([]byte, KeyBytes)
	_, _ = rand.Read(key) // never fails
	return key
}

// Hash makes the hash of a new password.
func (a *Authority) Hash(ctx context.Context, password string) ([]byte, error) {
	return a.passwords.hash(ctx, password)
}

// Login checks a password and returns a token for its user. The view must be younger than the call.
func (a *Authority) Login(ctx context.Context, v *auth.View, user, password string) (string, error) {
	u, err := a.passwords.verify(ctx, v, user, password)
	if err != nil {
		return "", err
	}
	return a.tokens.issue(v, u)
}

// Identify tells whose a token is. Whether the user of a JWT exists, and whether its revision is recent enough, is
// for auth to say; a simple token is good only for a user as they are in the view.
func (a *Authority) Identify(v *auth.View, token string) (auth.Identity, error) {
	return a.tokens.identify(v, token)
}

// nothing is the kind where nobody gets a token.
type nothing struct{}

func (nothing) issue(*auth.View, *auth.User) (string, error) { return "", ErrFailed }

func (nothing) identify(*auth.View, string) (auth.Identity, error) {
	return auth.Identity{}, ErrInvalid
}
