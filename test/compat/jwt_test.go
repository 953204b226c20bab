package compat

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// jwt makes keys and tokens.
//
//	jwt key=NAME                    writes an Ed25519 pair, NAME.key and NAME.pub
//	jwt as=NAME alg=A key=FILE      keeps a token with the claims of the input, signed HS256, EdDSA or none
//
// In the claims $now is the time in seconds since 1970; $now+60 and $now-60 too.
func (s *teller) jwt(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var as, alg, key string
	d.ScanArgs(t, "key", &key)
	if !d.MaybeScanArgs(t, "as", &as) {
		s.writePair(t, key)
		return ""
	}
	d.ScanArgs(t, "alg", &alg)
	now := time.Now().Unix()
	claims := strings.NewReplacer("$now+60", strconv.FormatInt(now+60, 10), "$now-60", strconv.FormatInt(now-60, 10),
		"$now", strconv.FormatInt(now, 10)).Replace(d.Input)
	raw := base64.RawURLEncoding
	text := raw.EncodeToString([]byte(`{"alg":"`+alg+`","typ":"JWT"}`)) + "." + raw.EncodeToString([]byte(claims))
	s.tokens[as] = text + "." + raw.EncodeToString(s.sign(t, alg, key, text))
	return ""
}

func (s *teller) sign(t *testing.T, alg, key, text string) []byte {
	t.Helper()
	if alg == "none" {
		return nil
	}
	file, err := os.ReadFile(filepath.Join(s.dir, key))
	if err != nil {
		t.Fatal(err)
	}
	if alg == "HS256" {
		mac := hmac.New(sha256.New, file)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	block, _ := pem.Decode(file)
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.Sign(private.(ed25519.PrivateKey), []byte(text))
}

func (s *teller) writePair(t *testing.T, name string) {
	t.Helper()
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	pubDER, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		name + ".key": {Type: "PRIVATE KEY", Bytes: privateDER}, name + ".pub": {Type: "PUBLIC KEY", Bytes: pubDER},
	} {
		if err := os.WriteFile(filepath.Join(s.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
