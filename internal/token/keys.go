package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"fmt"
	"os"

	"github.com/golang-jwt/jwt/v5"
)

// keys are what JWTs are signed and checked with.
type keys struct {
	private any // nil where tokens are only checked
	public  any
}

// equaler is what all public keys of the standard library are.
type equaler interface{ Equal(crypto.PublicKey) bool }

// readKeys reads the key files that a specification names and tries the keys.
func readKeys(s spec) (keys, error) {
	public, err := readKeyFile(optPublic, s.public)
	if err != nil {
		return keys{}, err
	}
	private, err := readKeyFile(optPrivate, s.private)
	if err != nil {
		return keys{}, err
	}
	k, err := parseKeys(s, public, private)
	if err != nil {
		return keys{}, err
	}
	return k, k.try(s.method)
}

func readKeyFile(option, name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%w: --auth-token: read %s: %w; is the file there, and may the server read it?", errOptions, option, err)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: the file %s of --auth-token's %s is empty; put the key into it", errMissingKey, name, option)
	}
	return b, nil
}

func parseKeys(s spec, public, private []byte) (keys, error) {
	if _, ok := s.method.(*jwt.SigningMethodHMAC); ok {
		return keys{private: private, public: private}, nil
	}
	var k keys
	if private != nil {
		signer, err := parsePrivate(s.method, private)
		if err != nil {
			return keys{}, fmt.Errorf("%w: the file %s of --auth-token's priv-key must be the PEM of a private key for %s", err, s.private, s.method.Alg())
		}
		k.private, k.public = signer, signer.Public()
	}
	if public != nil {
		given, err := parsePublic(s.method, public)
		if err != nil {
			return keys{}, fmt.Errorf("%w: the file %s of --auth-token's pub-key must be the PEM of a public key for %s", err, s.public, s.method.Alg())
		}
		if k.public != nil && !given.Equal(k.public) {
			return keys{}, fmt.Errorf("%w: %s and %s of --auth-token belong to two pairs; give the files of one, or priv-key alone",
				errKeyMismatch, s.public, s.private)
		}
		k.public = given
	}
	return k, nil
}

func parsePrivate(method jwt.SigningMethod, pem []byte) (crypto.Signer, error) {
	switch method.(type) {
	case *jwt.SigningMethodECDSA:
		return jwt.ParseECPrivateKeyFromPEM(pem)
	case *jwt.SigningMethodEd25519:
		key, err := jwt.ParseEdPrivateKeyFromPEM(pem)
		if err != nil {
			return nil, err
		}
		signer, ok := key.(ed25519.PrivateKey)
		if !ok {
			return nil, jwt.ErrNotEdPrivateKey
		}
		return signer, nil
	}
	return jwt.ParseRSAPrivateKeyFromPEM(pem)
}

func parsePublic(method jwt.SigningMethod, pem []byte) (equaler, error) {
	switch method.(type) {
	case *jwt.SigningMethodECDSA:
		return jwt.ParseECPublicKeyFromPEM(pem)
	case *jwt.SigningMethodEd25519:
		key, err := jwt.ParseEdPublicKeyFromPEM(pem)
		if err != nil {
			return nil, err
		}
		public, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, jwt.ErrNotEdPublicKey
		}
		return public, nil
	}
	return jwt.ParseRSAPublicKeyFromPEM(pem)
}

// try finds keys that cannot do what the method asks (a curve of another size, too short a key) at the start and
// not at the first login.
func (k keys) try(method jwt.SigningMethod) error {
	if ec, ok := k.public.(*ecdsa.PublicKey); ok {
		if want := method.(*jwt.SigningMethodECDSA).CurveBits; ec.Curve.Params().BitSize != want {
			return badOptions("%s needs a key on a curve of %d bits, the key's has %d; use the method or the key that fits the other",
				method.Alg(), want, ec.Curve.Params().BitSize)
		}
	}
	if k.private == nil {
		return nil
	}
	sig, err := method.Sign("a trial", k.private)
	if err == nil {
		err = method.Verify("a trial", sig, k.public)
	}
	if err != nil {
		return badOptions("the key cannot sign by %s (%v); make a longer one", method.Alg(), err)
	}
	return nil
}
