package token

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/bcrypt"

	"github.com/keelson-db/keelson/internal/auth"
)

// mark stands for a user, a stored hash and a password in the memory of this process.
type mark [sha256.Size]byte

// passwords checks passwords and remembers which were right.
type passwords struct {
	cost   int
	secret [sha256.Size]byte // the key of all marks
	dummy  []byte            // a hash that belongs to nobody, for those whom nobody knows
	turns  *turns
	good   *memory[mark, struct{}]

	mu      sync.Mutex
	running map[mark]*check
}

// check is one comparison that is under way; who asks the same meanwhile waits for it.
type check struct {
	done chan struct{}
	err  error // readable after done
}

func newPasswords(cost int) *passwords {
	if cost < bcrypt.MinCost || cost > bcrypt.MaxCost {
		cost = bcrypt.DefaultCost
	}
	p := &passwords{
		cost:    cost,
		dummy:   dummyHash(cost),
		turns:   newTurns(),
		running: make(map[mark]*check),
		good: newMemory(maxPasswordWeight, 0, func(mark, struct{}) int {
			return entryWeight
		}),
	}
	_, _ = rand.Read(p.secret[:]) // never fails
	return p
}

// dummyHash is written down and not computed, because at a high cost computing it would hold up the start.
func dummyHash(cost int) []byte {
	const saltAndHash = 22 + 31 // characters
	return fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", saltAndHash))
}

// hash makes the hash of a new password.
func (p *passwords) hash(ctx context.Context, password string) ([]byte, error) {
	if len(password) > maxPasswordBytes {
		return nil, bcrypt.ErrPasswordTooLong
	}
	if err := p.turns.take(ctx); err != nil {
		return nil, err
	}
	defer p.turns.give()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), p.cost)
	if err != nil {
		return nil, fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// verify returns the user if the password is theirs.
func (p *passwords) verify(ctx context.Context, v *auth.View, name, password string) (*auth.User, error) {
	u, known := v.User(name)
	if known && u.NoPassword {
		return nil, ErrNoPassword
	}
	// Bcrypt ignores what follows, so it makes no other password.
	password = password[:min(len(password), maxPasswordBytes)]
	if !known || len(u.Hash) == 0 || p.tooDear(u.Hash) {
		return nil, p.once(ctx, p.mark(name, p.dummy, password), func() error {
			_ = bcrypt.CompareHashAndPassword(p.dummy, []byte(password))
			return ErrFailed
		})
	}
	m := p.mark(name, u.Hash, password)
	if p.remembers(m) {
		return u, nil
	}
	err := p.once(ctx, m, func() error {
		if bcrypt.CompareHashAndPassword(u.Hash, []byte(password)) != nil {
			return ErrFailed
		}
		p.good.put(m.sum(), m, struct{}{})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return u, nil
}

// tooDear reports whether a hash is one that nothing is compared with, because of the work that it would be.
func (p *passwords) tooDear(hash []byte) bool {
	cost, err := bcrypt.Cost(hash)
	return err == nil && cost > max(p.cost, maxHashCost)
}

// once takes a turn and compares; of callers with the same mark at the same time only one does.
func (p *passwords) once(ctx context.Context, m mark, compare func() error) error {
	for {
		p.mu.Lock()
		c, runs := p.running[m]
		if !runs {
			c = &check{done: make(chan struct{})}
			p.running[m] = c
		}
		p.mu.Unlock()
		if !runs {
			p.lead(ctx, m, c, compare)
			return c.err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return fmt.Errorf("wait for the same login: %w", ctx.Err())
		}
		// The one that was waited for may have given up for reasons of its own.
		if !errors.Is(c.err, context.Canceled) && !errors.Is(c.err, context.DeadlineExceeded) {
			return c.err
		}
	}
}

// lead does the work of a check that others may wait for.
func (p *passwords) lead(ctx context.Context, m mark, c *check, compare func() error) {
	c.err = ErrFailed // if compare does not come back
	defer func() {
		p.mu.Lock()
		delete(p.running, m)
		p.mu.Unlock()
		close(c.done)
	}()
	if p.remembers(m) { // since this caller looked
		c.err = nil
		return
	}
	if err := p.turns.take(ctx); err != nil {
		c.err = err
		return
	}
	defer p.turns.give()
	c.err = compare()
}

func (p *passwords) remembers(m mark) bool {
	_, ok := p.good.get(m.sum(), m)
	return ok
}

// mark is keyed, so that nobody outside can find two passwords of one mark, and so that marks mean nothing without the
// process that made them. They are quicker to guess at than bcrypt's hashes and must never leave it.
func (p *passwords) mark(name string, hash []byte, password string) (m mark) {
	h := hmac.New(sha256.New, p.secret[:])
	b := make([]byte, 0, 256)
	b = binary.AppendUvarint(b, uint64(len(name)))
	b = append(b, name...)
	b = binary.AppendUvarint(b, uint64(len(hash)))
	b = append(b, hash...)
	b = append(b, password...)
	h.Write(b)
	h.Sum(m[:0])
	return m
}

// sum spreads marks over the parts of a memory; they are as good as random.
func (m mark) sum() uint64 { return binary.LittleEndian.Uint64(m[:]) }
