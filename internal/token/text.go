package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// The text of a simple token is the prefix, which names the format, and the following in URL-safe base64 without padding:
//
//	 8 bytes  time of issue, Unix nanoseconds, big endian
//	 8 bytes  the user's epoch, big endian
//	 8 bytes  random
//	 n bytes  the user's name, not empty
//	32 bytes  HMAC-SHA256 of the prefix and all the bytes above, under the cluster's key
//
// Every field but one has a fixed width and the base64 must be canonical, so a token has exactly one text.
const (
	simplePrefix   = "k1."
	simpleFixed    = 24 // bytes before the name
	simpleOverhead = simpleFixed + sha256.Size
)

// claim is what a simple token says.
type claim struct {
	issued int64 // Unix nanoseconds
	epoch  uint64
	nonce  uint64
	user   string
}

// encode writes and signs a simple token.
func (c claim) encode(key []byte) string {
	b := make([]byte, 0, simpleOverhead+len(c.user))
	b = binary.BigEndian.AppendUint64(b, uint64(c.issued))
	b = binary.BigEndian.AppendUint64(b, c.epoch)
	b = binary.BigEndian.AppendUint64(b, c.nonce)
	b = append(b, c.user...)
	b = append(b, sign(key, b)...)
	return simplePrefix + base64.RawURLEncoding.EncodeToString(b)
}

// decode reads a simple token and checks the signature.
func decode(key []byte, token string) (claim, bool) {
	text, ok := strings.CutPrefix(token, simplePrefix)
	if !ok || len(token) > maxTokenBytes || len(key) == 0 {
		return claim{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	// The decoder skips line ends, which shows in the length.
	if err != nil || len(b) <= simpleOverhead || len(b) != base64.RawURLEncoding.DecodedLen(len(text)) {
		return claim{}, false
	}
	body, mac := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if !hmac.Equal(mac, sign(key, body)) {
		return claim{}, false
	}
	return claim{
		issued: int64(binary.BigEndian.Uint64(body)),
		epoch:  binary.BigEndian.Uint64(body[8:]),
		nonce:  binary.BigEndian.Uint64(body[16:]),
		user:   string(body[simpleFixed:]),
	}, true
}

func sign(key, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(simplePrefix))
	h.Write(body)
	return h.Sum(nil)
}
