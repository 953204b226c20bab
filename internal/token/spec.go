package token

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// What etcd says of options that it does not take; operators search for these words.
var (
	errOptions     = errors.New("auth: invalid auth options")
	errMissingKey  = errors.New("auth: missing key data")
	errKeyMismatch = errors.New("auth: public and private keys don't match")
)

// The kinds of tokens.
const (
	kindNone   = "" // nobody gets a token; certificates remain
	kindSimple = "simple"
	kindJWT    = "jwt"
)

// The options of JWTs.
const (
	optMethod  = "sign-method"
	optPublic  = "pub-key"
	optPrivate = "priv-key"
	optTTL     = "ttl"
)

// spec is a value of --auth-token, taken apart.
type spec struct {
	kind            string
	method          jwt.SigningMethod
	public, private string // file names
	ttl             time.Duration
	unknown         []string // options that mean nothing
}

// parseSpec takes a value of --auth-token apart. It reads no files.
func parseSpec(text string) (spec, error) {
	kind, options, err := splitSpec(text)
	if err != nil {
		return spec{}, err
	}
	switch kind {
	case kindNone, kindSimple:
		return spec{kind: kind, unknown: sortedKeys(options)}, nil
	case kindJWT:
		return parseJWTSpec(options)
	}
	return spec{}, badOptions("the kind of tokens %q is unknown; use simple, or jwt,sign-method=RS256,pub-key=FILE,priv-key=FILE", kind)
}

// splitSpec cuts at commas and equals signs.
func splitSpec(text string) (kind string, options map[string]string, err error) {
	parts := strings.Split(text, ",")
	options = make(map[string]string)
	for _, part := range parts[1:] {
		name, value, ok := strings.Cut(part, "=")
		if !ok || strings.Contains(value, "=") {
			return "", nil, badOptions("%q is not of the form name=value; options are separated by commas, and file names "+
				"may contain neither commas nor equals signs", part)
		}
		if _, twice := options[name]; twice {
			return "", nil, badOptions("the option %s is given twice; leave one out", name)
		}
		options[name] = value
	}
	return parts[0], options, nil
}

func parseJWTSpec(options map[string]string) (spec, error) {
	s := spec{kind: kindJWT, ttl: defaultJWTTTL, public: options[optPublic], private: options[optPrivate]}
	if text := options[optTTL]; text != "" {
		ttl, err := time.ParseDuration(text)
		if err != nil || ttl <= 0 {
			return spec{}, badOptions("ttl=%s is not how long a token can live; write a number above 0 and a unit, as in ttl=5m", text)
		}
		s.ttl = ttl
	}
	name := options[optMethod]
	if s.method = jwt.GetSigningMethod(name); s.method == nil {
		return spec{}, badOptions("sign-method=%s is unknown; use one of RS256, RS384, RS512, PS256, PS384, PS512, "+
			"ES256, ES384, ES512, EdDSA, HS256, HS384, HS512", name)
	}
	switch s.method.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS, *jwt.SigningMethodECDSA, *jwt.SigningMethodEd25519:
		if s.public == "" && s.private == "" {
			return spec{}, fmt.Errorf("%w: --auth-token names no key; add priv-key=FILE to give out tokens, or pub-key=FILE to check only", errMissingKey)
		}
	case *jwt.SigningMethodHMAC:
		if s.private == "" {
			return spec{}, fmt.Errorf("%w: %s needs a secret; add priv-key=FILE to --auth-token, the file's bytes are the secret", errMissingKey, name)
		}
	default:
		return spec{}, fmt.Errorf("unsupported signing method: %T: a token without a signature proves nothing; use sign-method=RS256", s.method)
	}
	for _, known := range [...]string{optMethod, optPublic, optPrivate, optTTL} {
		delete(options, known)
	}
	s.unknown = sortedKeys(options)
	return s, nil
}

func sortedKeys(options map[string]string) []string {
	var names []string
	for name := range options {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func badOptions(hint string, args ...any) error {
	return fmt.Errorf("%w: --auth-token: "+hint, append([]any{errOptions}, args...)...)
}
