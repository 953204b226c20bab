package token

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keelson-db/keelson/internal/auth"
)

// simple gives out and recognises signed tokens.
type simple struct {
	ttl  time.Duration
	born time.Time // last uses are counted from here on the monotonic clock, which nobody can set
	seed maphash.Seed
	used *memory[string, *use]
}

// use is a token that was recognised on this member.
type use struct {
	key   []byte // that it is signed with
	user  string
	epoch uint64
	last  atomic.Int64 // nanoseconds since simple.born
}

func newSimple(ttl time.Duration) *simple {
	if ttl <= 0 {
		ttl = defaultSimpleTTL
	}
	// What was not used for a period may go, because it is expired: so a period is longer than any life.
	return &simple{
		ttl: ttl, born: time.Now(), seed: maphash.MakeSeed(),
		used: newMemory(maxSimpleWeight, ttl+2*touchEvery, func(token string, u *use) int {
			return entryWeight + 64 + len(token) + len(u.user)
		}),
	}
}

// issue makes a token.
func (s *simple) issue(v *auth.View, u *auth.User) (string, error) {
	if len(v.Key()) == 0 {
		return "", errNoKey
	}
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails
	c := claim{issued: time.Now().UnixNano(), epoch: u.Epoch, nonce: binary.BigEndian.Uint64(nonce[:]), user: u.Name}
	token := c.encode(v.Key())
	if len(token) > maxTokenBytes {
		return "", errNameTooLong
	}
	return token, nil
}

// identify is on the way of every request. Most find their token remembered.
func (s *simple) identify(v *auth.View, token string) (auth.Identity, error) {
	sum := maphash.String(s.seed, token)
	now := int64(time.Since(s.born))
	if use, ok := s.used.get(sum, token); ok && s.fresh(now, use) && use.belongs(v) {
		if now-use.last.Load() > int64(touchEvery) {
			use.last.Store(now)
		}
		return auth.Identity{User: use.user, Rev: v.Revision()}, nil
	}
	return s.meet(v, token, sum, now)
}

// meet recognises a token that is not remembered, by what it says itself.
func (s *simple) meet(v *auth.View, token string, sum uint64, now int64) (auth.Identity, error) {
	c, ok := decode(v.Key(), token)
	if !ok {
		return auth.Identity{}, ErrInvalid
	}
	// A token may come from a member whose clock is ahead as well as behind.
	if age := time.Now().UnixNano() - c.issued; age > int64(s.ttl) || age < -int64(s.ttl) {
		return auth.Identity{}, ErrInvalid
	}
	use := &use{key: v.Key(), user: c.user, epoch: c.epoch}
	if !use.belongs(v) {
		return auth.Identity{}, ErrInvalid
	}
	use.last.Store(now)
	s.used.put(sum, strings.Clone(token), use)
	return auth.Identity{User: use.user, Rev: v.Revision()}, nil
}

// fresh reports whether a token was used within its time to live.
func (s *simple) fresh(now int64, u *use) bool {
	return now-u.last.Load()-int64(touchEvery) <= int64(s.ttl)
}

// belongs reports whether a token is good in a view: key and password are those that it was made under.
func (u *use) belongs(v *auth.View) bool {
	if !bytes.Equal(u.key, v.Key()) {
		return false
	}
	user, ok := v.User(u.user)
	return ok && user.Epoch == u.epoch
}
