package bootstrap

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
)

const (
	// tokenForm begins every join token: the first form of them.
	tokenForm = "k1"
	// secretBytes is how many random bytes a secret is made of.
	secretBytes = 16
)

// ErrTokenForm refuses a text that is no join token.
var ErrTokenForm = errors.New("--join-token is not one that a member gave out: copy all of it")

// Token lets somebody join. It carries what the asker needs to know that it talks to the right cluster, and what the
// cluster needs to know that it was invited. Its text has three parts, "k1", fingerprint and secret, joined by dots.
type Token struct {
	// Fingerprint is that of the certificate on the peer port of the member that gave it out; zero without TLS.
	Fingerprint [32]byte
	// Secret is what the asker shows.
	Secret string
}

// NewToken makes a token with a new secret.
func NewToken(fingerprint [32]byte) Token {
	secret := make([]byte, secretBytes)
	_, _ = rand.Read(secret) // it ends the process rather than failing
	return Token{Fingerprint: fingerprint, Secret: base64.RawURLEncoding.EncodeToString(secret)}
}

// String is the token's text.
func (t Token) String() string {
	fingerprint := ""
	if t.Fingerprint != [32]byte{} {
		fingerprint = base64.RawURLEncoding.EncodeToString(t.Fingerprint[:])
	}
	return strings.Join([]string{tokenForm, fingerprint, t.Secret}, ".")
}

// ParseToken reads a token's text; an empty one is no token at all.
func ParseToken(text string) (Token, error) {
	if text == "" {
		return Token{}, nil
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[0] != tokenForm || parts[2] == "" {
		return Token{}, ErrTokenForm
	}
	t := Token{Secret: parts[2]}
	if parts[1] == "" {
		return t, nil
	}
	fingerprint, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || len(fingerprint) != len(t.Fingerprint) {
		return Token{}, ErrTokenForm
	}
	copy(t.Fingerprint[:], fingerprint)
	return t, nil
}
