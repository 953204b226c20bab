package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/keelson-db/keelson/internal/auth"
)

// keyFiles has a pair of files for every kind of key: rsa, rsa2, ec256 and so on, ed, secret.
type keyFiles struct {
	dir  string
	keys map[string]crypto.Signer
}

// drawKeys draws the keys once, because those for RSA take a while.
var drawKeys = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	for _, name := range []string{"rsa", "rsa2"} {
		keys[name] = must(rsa.GenerateKey(rand.Reader, 2048))
	}
	for name, curve := range map[string]elliptic.Curve{"ec256": elliptic.P256(), "ec384": elliptic.P384(), "ec521": elliptic.P521()} {
		keys[name] = must(ecdsa.GenerateKey(curve, rand.Reader))
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	keys["ed"] = must(ed, err)
	return keys
})

func newKeyFiles(t testing.TB) *keyFiles {
	t.Helper()
	k := &keyFiles{dir: t.TempDir(), keys: drawKeys()}
	for name, key := range k.keys {
		k.write(t, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))}))
		k.write(t, name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key.Public()))}))
	}
	k.write(t, "secret", []byte("a secret of some length\n"))
	k.write(t, "empty", nil)
	return k
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (k *keyFiles) write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(k.dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// spec writes the files' directory before the names of files.
func (k *keyFiles) spec(text string) string {
	return "jwt," + strings.NewReplacer("priv-key=", "priv-key="+k.dir+"/", "pub-key=", "pub-key="+k.dir+"/").Replace(text)
}

func (k *keyFiles) authority(t testing.TB, text string) *Authority {
	t.Helper()
	return newAuthority(t, Options{Spec: k.spec(text)})
}

func TestEveryMethodSignsAndVerifies(t *testing.T) {
	u, k := newUsers(t), newKeyFiles(t)
	for method, key := range map[string]string{
		"RS256": "rsa", "RS384": "rsa", "RS512": "rsa", "PS256": "rsa", "PS384": "rsa", "PS512": "rsa",
		"ES256": "ec256", "ES384": "ec384", "ES512": "ec521", "EdDSA": "ed",
	} {
		a := k.authority(t, "sign-method="+method+",priv-key="+key+".key,pub-key="+key+".pub")
		token := login(t, a, u.view(), "ann", "one")
		for range 2 {
			good(t, a, u.view(), token, "ann", method)
		}
		good(t, k.authority(t, "sign-method="+method+",priv-key="+key+".key"), u.view(), token, "ann", method+", private key alone")
		reader := k.authority(t, "sign-method="+method+",pub-key="+key+".pub")
		good(t, reader, u.view(), token, "ann", method+", public key alone")
		if _, err := reader.Login(t.Context(), u.view(), "ann", "one"); !errors.Is(err, ErrVerifyOnly) {
			t.Errorf("%s: a login without a private key says %v", method, err)
		}
		if _, err := reader.Login(t.Context(), u.view(), "ann", "two"); !errors.Is(err, ErrFailed) {
			t.Errorf("%s: a wrong password without a private key says %v", method, err)
		}
	}
	for _, method := range []string{"HS256", "HS384", "HS512"} {
		a := k.authority(t, "sign-method="+method+",priv-key=secret")
		good(t, a, u.view(), login(t, a, u.view(), "ann", "one"), "ann", method)
	}
}

func TestBadKeysStopTheStart(t *testing.T) {
	k := newKeyFiles(t)
	for text, says := range map[string]string{
		"sign-method=RS256,priv-key=absent":                   "auth: invalid auth options",
		"sign-method=HS256,priv-key=secret,pub-key=absent":    "auth: invalid auth options",
		"sign-method=RS256,pub-key=empty":                     "auth: missing key data",
		"sign-method=HS256,priv-key=empty":                    "auth: missing key data",
		"sign-method=RS256,priv-key=rsa.key,pub-key=rsa2.pub": "auth: public and private keys don't match",
		"sign-method=RS256,priv-key=secret":                   "invalid key: Key must be a PEM encoded",
		"sign-method=RS256,priv-key=ec256.key":                "key is not a valid RSA private key",
		"sign-method=PS256,pub-key=ec256.pub":                 "key is not a valid RSA public key",
		"sign-method=ES256,priv-key=rsa.key":                  "key is not a valid ECDSA private key",
		"sign-method=ES256,pub-key=ed.pub":                    "key is not a valid ECDSA public key",
		"sign-method=EdDSA,priv-key=rsa.key":                  "key is not a valid Ed25519 private key",
		"sign-method=EdDSA,pub-key=rsa.pub":                   "key is not a valid Ed25519 public key",
		"sign-method=ES256,priv-key=ec384.key":                "auth: invalid auth options",
		"sign-method=ES512,pub-key=ec256.pub":                 "auth: invalid auth options",
	} {
		_, err := New(Options{Spec: k.spec(text)})
		if err == nil || !strings.HasPrefix(err.Error(), says) || !strings.Contains(err.Error(), "key") {
			t.Errorf("%s: %v, want %s and a hint", text, err, says)
		}
	}
}

// signed makes a token as somebody else would.
func signed(t testing.TB, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// world is a server that verifies by RS256, and who signs for it.
type world struct {
	*keyFiles
	a     *Authority
	right jwt.MapClaims // of a token that is good
}

func newWorld(t *testing.T) *world {
	t.Helper()
	k := newKeyFiles(t)
	right := jwt.MapClaims{"username": "ann", "revision": 3, "exp": time.Now().Add(time.Hour).Unix()}
	return &world{keyFiles: k, a: k.authority(t, "sign-method=RS256,pub-key=rsa.pub"), right: right}
}

// with signs the right claims but for one; nil leaves it out.
func (w *world) with(t *testing.T, name string, value any) string {
	t.Helper()
	c := maps.Clone(w.right)
	if c[name] = value; value == nil {
		delete(c, name)
	}
	return signed(t, jwt.SigningMethodRS256, w.keys["rsa"], c)
}

// refuse asks for every token twice, and checks that none of them is remembered.
func (w *world) refuse(t *testing.T, tokens map[string]string) {
	t.Helper()
	v := &auth.View{}
	if id, err := w.a.Identify(v, w.with(t, "other", 1)); err != nil || id != (auth.Identity{User: "ann", Rev: 3}) {
		t.Fatalf("the right one gives %+v, %v", id, err)
	}
	for name, token := range tokens {
		for range 2 {
			bad(t, w.a, v, token, name)
		}
	}
	if n := w.a.tokens.(*jwts).verified.size(); n != 1 {
		t.Errorf("%d tokens are remembered, want the right one alone", n)
	}
}

func TestWronglySignedJWTsAreRefused(t *testing.T) {
	w := newWorld(t)
	right, k := w.right, w.keyFiles
	public := must(os.ReadFile(filepath.Join(k.dir, "rsa.pub")))
	der := must(x509.MarshalPKIXPublicKey(k.keys["rsa"].Public()))
	fine := signed(t, jwt.SigningMethodRS256, k.keys["rsa"], right)
	parts := strings.Split(fine, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	w.refuse(t, map[string]string{
		"none":                       signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, right),
		"none spelled otherwise":     b64([]byte(`{"alg":"nOnE"}`)) + "." + parts[1] + ".",
		"none with a signature":      b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2],
		"no algorithm":               b64([]byte(`{}`)) + "." + parts[1] + "." + parts[2],
		"an algorithm of no text":    b64([]byte(`{"alg":256}`)) + "." + parts[1] + "." + parts[2],
		"HMAC with the public key":   signed(t, jwt.SigningMethodHS256, public, right),
		"HMAC with its bytes":        signed(t, jwt.SigningMethodHS256, der, right),
		"HMAC with nothing":          signed(t, jwt.SigningMethodHS256, []byte{}, right),
		"another hash, right key":    signed(t, jwt.SigningMethodRS512, k.keys["rsa"], right),
		"another padding, right key": signed(t, jwt.SigningMethodPS256, k.keys["rsa"], right),
		"another key":                signed(t, jwt.SigningMethodRS256, k.keys["rsa2"], right),
		"a curve":                    signed(t, jwt.SigningMethodES256, k.keys["ec256"], right),
		"Edwards's curve":            signed(t, jwt.SigningMethodEdDSA, k.keys["ed"], right),
		"no signature":               parts[0] + "." + parts[1] + ".",
		"half a signature":           fine[:len(fine)-len(parts[2])/2],
		"other claims":               parts[0] + "." + b64([]byte(`{"username":"root","revision":3}`)) + "." + parts[2],
		"a line end":                 fine + "\n",
		"a line end within":          fine[:len(fine)-9] + "\r" + fine[len(fine)-9:],
		"four parts":                 fine + ".",
		"two parts":                  parts[0] + "." + parts[1],
		"nothing":                    "",
		"dots":                       "..",
		"not JSON":                   b64([]byte("{")) + "." + b64([]byte("}")) + "." + parts[2],
		"JSON of depth":              b64([]byte(strings.Repeat("[", 5000))) + ".." + parts[2],
		"huge":                       strings.Repeat("A", 10<<20),
		"huge and signed":            w.with(t, "more", strings.Repeat("x", maxTokenBytes)),
		"a simple token":             sample().encode(testKey(1)),
	})
}

func TestJWTsOfWrongClaimsAreRefused(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	w.refuse(t, map[string]string{
		"expired":                   w.with(t, "exp", now.Add(-time.Second).Unix()),
		"expired at the beginning":  w.with(t, "exp", 1),
		"expiry as text":            w.with(t, "exp", "tomorrow"),
		"not yet":                   w.with(t, "nbf", now.Add(time.Hour).Unix()),
		"no user":                   w.with(t, "username", nil),
		"user of no name":           w.with(t, "username", ""),
		"user as number":            w.with(t, "username", 7),
		"users":                     w.with(t, "username", []string{"ann"}),
		"user in another spelling":  signed(t, jwt.SigningMethodRS256, w.keys["rsa"], jwt.MapClaims{"Username": "ann", "revision": 3}),
		"no revision":               w.with(t, "revision", nil),
		"revision as text":          w.with(t, "revision", "3"),
		"revision below zero":       w.with(t, "revision", -1),
		"half a revision":           w.with(t, "revision", 2.5),
		"revision past all numbers": w.with(t, "revision", 1e300),
		"revision true":             w.with(t, "revision", true),
	})
}

// TestASecretIsNotAPublicKey is the other way of confusing algorithms.
func TestASecretIsNotAPublicKey(t *testing.T) {
	k := newKeyFiles(t)
	a := k.authority(t, "sign-method=HS256,priv-key=secret")
	claims := jwt.MapClaims{"username": "ann", "revision": 3}
	secret := must(os.ReadFile(filepath.Join(k.dir, "secret")))
	if id, err := a.Identify(&auth.View{}, signed(t, jwt.SigningMethodHS256, secret, claims)); err != nil || id.User != "ann" {
		t.Errorf("%+v, %v", id, err)
	}
	bad(t, a, &auth.View{}, signed(t, jwt.SigningMethodHS256, []byte(strings.TrimSpace(string(secret))), claims), "the line end belongs to the secret")
	bad(t, a, &auth.View{}, signed(t, jwt.SigningMethodHS512, secret, claims), "another hash")
	bad(t, a, &auth.View{}, signed(t, jwt.SigningMethodRS256, k.keys["rsa"], claims), "a key pair")
	bad(t, a, &auth.View{}, signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims), "none")
}

func TestAJWTIsGoodUntilItsExpiryAndNoLonger(t *testing.T) {
	k := newKeyFiles(t)
	synctest.Test(t, func(t *testing.T) {
		a := k.authority(t, "sign-method=ES256,priv-key=ec256.key,ttl=10m")
		v := &auth.View{}
		token, err := a.tokens.issue(v, &auth.User{Name: "ann"})
		if err != nil {
			t.Fatal(err)
		}
		eternal := signed(t, jwt.SigningMethodES256, k.keys["ec256"], jwt.MapClaims{"username": "ann", "revision": 0})
		for range 9 {
			good(t, a, v, token, "ann", "remembered")
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Minute - time.Second)
		good(t, a, v, token, "ann", "its last second")
		time.Sleep(time.Second)
		bad(t, a, v, token, "remembered and expired")
		bad(t, k.authority(t, "sign-method=ES256,pub-key=ec256.pub"), v, token, "never seen and expired")
		time.Sleep(1000 * time.Hour)
		good(t, a, v, eternal, "ann", "what never expires")
	})
}

func TestLoginsOfOneSecondShareASignature(t *testing.T) {
	u, k := newUsers(t), newKeyFiles(t)
	v := u.view()
	synctest.Test(t, func(t *testing.T) {
		a := k.authority(t, "sign-method=ES256,priv-key=ec256.key")
		first := login(t, a, v, "ann", "one")
		if login(t, a, v, "ann", "one") != first {
			t.Error("the same second gives another token")
		}
		if login(t, a, v, "root", "r") == first {
			t.Error("another user gets the same token")
		}
		time.Sleep(time.Second)
		if login(t, a, v, "ann", "one") == first {
			t.Error("another second gives the same token")
		}
	})
}

func TestTheClaimsOfAJWTAreEtcds(t *testing.T) {
	u, k := newUsers(t), newKeyFiles(t)
	v := u.view()
	synctest.Test(t, func(t *testing.T) {
		a := k.authority(t, "sign-method=RS256,priv-key=rsa.key,ttl=90s")
		claims := jwt.MapClaims{}
		if _, _, err := jwt.NewParser().ParseUnverified(login(t, a, v, "ann", "one"), claims); err != nil {
			t.Fatal(err)
		}
		want := jwt.MapClaims{"username": "ann", "revision": float64(v.Revision()), "exp": float64(time.Now().Unix() + 90)}
		if !maps.Equal(claims, want) {
			t.Errorf("%v, want %v", claims, want)
		}
	})
}
