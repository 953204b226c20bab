package token

import (
	"fmt"
	"hash/maphash"
	"math"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keelson-db/keelson/internal/auth"
)

// The claims of a JWT.
const (
	claimUser     = "username"
	claimRevision = "revision"
	claimExpiry   = "exp"
)

// jwts gives out and recognises JSON web tokens.
type jwts struct {
	method   jwt.SigningMethod
	keys     keys
	ttl      time.Duration
	parser   *jwt.Parser
	seed     maphash.Seed
	verified *memory[string, *verified] // by the token's text: hashing it would take longer than all the rest
	issued   *memory[issue, string]
}

// verified is what a token says whose signature was good.
type verified struct {
	auth.Identity
	expiry time.Time // zero if it never expires
}

// issue is what a token that we sign differs in. Expiry counts whole seconds, so within one of them a user gets the
// same token again; signing is the dearest part of a login.
type issue struct {
	user   string
	rev    uint64
	expiry int64 // Unix seconds
}

func newJWTs(s spec) (*jwts, error) {
	k, err := readKeys(s)
	if err != nil {
		return nil, err
	}
	return &jwts{
		method: s.method, keys: k, ttl: s.ttl, seed: maphash.MakeSeed(),
		// The method is ours to choose: a token that says another one is not even looked at.
		parser: jwt.NewParser(jwt.WithValidMethods([]string{s.method.Alg()})),
		verified: newMemory(maxJWTWeight, s.ttl, func(token string, v *verified) int {
			return entryWeight + 64 + len(token) + len(v.User)
		}),
		issued: newMemory(maxIssuedWeight, time.Second, func(i issue, token string) int {
			return entryWeight + len(i.user) + len(token)
		}),
	}, nil
}

// issue signs a token.
func (j *jwts) issue(v *auth.View, u *auth.User) (string, error) {
	if j.keys.private == nil {
		return "", ErrVerifyOnly
	}
	i := issue{user: u.Name, rev: v.Revision(), expiry: time.Now().Add(j.ttl).Unix()}
	sum := maphash.Comparable(j.seed, i)
	if token, ok := j.issued.get(sum, i); ok {
		return token, nil
	}
	token, err := jwt.NewWithClaims(j.method, jwt.MapClaims{
		claimUser: i.user, claimRevision: i.rev, claimExpiry: i.expiry,
	}).SignedString(j.keys.private)
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	if len(token) > maxTokenBytes {
		return "", errNameTooLong
	}
	j.issued.put(sum, i, token)
	return token, nil
}

// identify is on the way of every request. Most find their token verified.
func (j *jwts) identify(_ *auth.View, token string) (auth.Identity, error) {
	if len(token) > maxTokenBytes {
		return auth.Identity{}, ErrInvalid
	}
	sum := maphash.String(j.seed, token)
	known, ok := j.verified.get(sum, token)
	if !ok {
		if known, ok = j.verify(token); !ok {
			return auth.Identity{}, ErrInvalid
		}
		j.verified.put(sum, strings.Clone(token), known)
	}
	if !known.expiry.IsZero() && !time.Now().Before(known.expiry) {
		return auth.Identity{}, ErrInvalid
	}
	return known.Identity, nil
}

// verify reads a token and checks signature, times and claims. A token need not expire: etcd takes such ones, and who
// signs them knows. Audience and issuer are not looked at, as there is nothing to compare them with.
func (j *jwts) verify(token string) (*verified, bool) {
	// The decoder skips line ends, so one signature would have many texts.
	if strings.ContainsAny(token, "\r\n") {
		return nil, false
	}
	claims := jwt.MapClaims{}
	if _, err := j.parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return j.keys.public, nil }); err != nil {
		return nil, false
	}
	user, ok := claims[claimUser].(string)
	if !ok || user == "" {
		return nil, false
	}
	rev, ok := claims[claimRevision].(float64)
	if !ok || rev < 0 || rev >= math.MaxInt64 || rev != math.Trunc(rev) {
		return nil, false
	}
	v := &verified{Identity: auth.Identity{User: user, Rev: uint64(rev)}}
	expiry, err := claims.GetExpirationTime()
	if err != nil {
		return nil, false
	}
	if expiry != nil {
		v.expiry = expiry.Time
	}
	return v, true
}
