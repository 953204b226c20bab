package token

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
)

func sample() claim {
	return claim{issued: 1_700_000_000_000_000_000, epoch: 4, nonce: 99, user: "ann"}
}

func TestASimpleTokenSaysWhatWasSigned(t *testing.T) {
	for _, user := range []string{"a", "ann", "a b", "ünï", "\x00\xff", strings.Repeat("x", 5000)} {
		c := sample()
		c.user = user
		text := c.encode(testKey(1))
		if got, ok := decode(testKey(1), text); !ok || got != c {
			t.Errorf("%q came back as %+v, %v", user, got, ok)
		}
		for _, r := range text {
			if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.", r) {
				t.Fatalf("%q is in the token of %q: not every header takes it", r, user)
			}
		}
	}
}

func TestHostileSimpleTokensAreRefused(t *testing.T) {
	key := testKey(1)
	good := sample().encode(key)
	raw, _ := base64.RawURLEncoding.DecodeString(good[len(simplePrefix):])
	remake := func(b []byte) string { return simplePrefix + base64.RawURLEncoding.EncodeToString(b) }
	nobody := sample()
	nobody.user = ""
	long := sample()
	long.user = strings.Repeat("x", maxTokenBytes)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	spare := good[:len(good)-1] + alphabet[strings.IndexByte(alphabet, good[len(good)-1])+1:][:1]
	if b, err := base64.RawURLEncoding.DecodeString(spare[len(simplePrefix):]); err != nil || !bytes.Equal(b, raw) {
		t.Fatalf("%q is no second text of the same bytes", spare)
	}
	bare := hmac.New(sha256.New, key)
	bare.Write(raw[:len(raw)-sha256.Size])
	for name, text := range map[string]string{
		"spare bits":            spare,
		"signed without prefix": remake(bare.Sum(bytes.Clone(raw[:len(raw)-sha256.Size]))),
		"nothing":               "",
		"the prefix":            simplePrefix,
		"etcd's":                "VVpJcEtHRVhmbXZQ.12",
		"a JWT":                 "eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6InJvb3QifQ.",
		"another prefix":        "k2." + good[len(simplePrefix):],
		"no prefix":             good[len(simplePrefix):],
		"a line end":            good[:20] + "\n" + good[20:],
		"a line end behind":     good + "\n",
		"padding":               good + "==",
		"standard alphabet":     strings.NewReplacer("-", "+", "_", "/").Replace(sample().encode(testKey(1))) + "+",
		"a space":               " " + good,
		"cut":                   good[:len(good)-4],
		"longer":                good + "AAAA",
		"no name":               nobody.encode(key),
		"too long":              long.encode(key),
		"only a signature":      remake(sign(key, nil)),
		"another key":           sample().encode(testKey(2)),
		"not ASCII":             simplePrefix + "ünï",
		"huge":                  strings.Repeat("A", 10<<20),
	} {
		if c, ok := decode(key, text); ok {
			t.Errorf("%s: taken as %+v", name, c)
		}
	}
	for i := range raw {
		for bit := range 8 {
			b := bytes.Clone(raw)
			b[i] ^= 1 << bit
			if _, ok := decode(key, remake(b)); ok {
				t.Fatalf("bit %d of byte %d may change", bit, i)
			}
		}
	}
}

func TestWithoutAKeyNoTokenIsGood(t *testing.T) {
	for _, key := range [][]byte{nil, {}} {
		if _, ok := decode(key, sample().encode(key)); ok {
			t.Error("everybody can sign with an empty key")
		}
	}
}

// FuzzDecode feeds texts, and bodies with a right signature, to the decoder. What is taken has one text only.
func FuzzDecode(f *testing.F) {
	good := sample().encode(testKey(1))
	f.Add(good, []byte("01234567890123456789012345678901"))
	f.Add(simplePrefix, []byte{})
	f.Add(good+"\n", []byte("012345678901234567890123"))
	f.Add("k1.AA==", []byte("0123456789012345678901234"))
	f.Fuzz(func(t *testing.T, text string, body []byte) {
		key := testKey(1)
		signed := simplePrefix + base64.RawURLEncoding.EncodeToString(append(bytes.Clone(body), sign(key, body)...))
		for _, text := range []string{text, signed} {
			if c, ok := decode(key, text); ok && c.encode(key) != text {
				t.Fatalf("%q reads as %+v, whose text is another", text, c)
			}
		}
		if _, ok := decode(key, signed); ok != (len(body) > simpleFixed && len(signed) <= maxTokenBytes) {
			t.Fatalf("a signed body of %d bytes: %v", len(body), ok)
		}
	})
}
