package token

import "time"

const (
	// defaultSimpleTTL is how long an unused simple token lives where the options do not say.
	defaultSimpleTTL = 300 * time.Second
	// defaultJWTTTL is how long a JWT lives where its specification does not say.
	defaultJWTTTL = 5 * time.Minute
	// maxTokenBytes is the length of the longest token, as text, in bytes. HTTP servers commonly take headers of this size.
	maxTokenBytes = 8 << 10
	// maxPasswordBytes is how much of a password bcrypt looks at, in bytes. A new password may not be longer.
	maxPasswordBytes = 72
	// maxHashCost is how dear a hash may be to be compared with at all, in bcrypt's powers of two, where new ones
	// are not made dearer still: a few seconds of one core. Hashes that were moved here may be of any cost, up to
	// days of work, and everybody who can name the user could have that work done.
	maxHashCost = 16
	// maxWaiting is how many callers wait for their turn at bcrypt, in callers. It is about a minute's
	// work of one core at the usual cost; those who gave up before have left the queue.
	maxWaiting = 1024

	// touchEvery is how exact the time of a token's last use is kept. Writing it at every request would make
	// all cores fight for the same line of memory.
	touchEvery = 100 * time.Millisecond

	// maxSimpleWeight is how much is remembered of simple tokens in use, in bytes: about 100,000 of the usual length.
	maxSimpleWeight = 32 << 20
	// maxJWTWeight is how much is remembered of verified JWTs, in bytes: about 50,000.
	maxJWTWeight = 32 << 20
	// maxIssuedWeight is how much is remembered of JWTs just given out, in bytes.
	maxIssuedWeight = 4 << 20
	// maxPasswordWeight is how much is remembered of good passwords, in bytes: about 80,000 users.
	maxPasswordWeight = 8 << 20
	// entryWeight is what an entry of a memory costs beside its texts, in bytes.
	entryWeight = 96
)
