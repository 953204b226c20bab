package transport

import (
	"net"
	"runtime"
	"slices"
	"sync"
)

const (
	// maxPendingBytes is how much may be pending on a connection before senders wait.
	maxPendingBytes = 64 << 10
	// maxUnwrittenBytes is how much may be pending before the connection is not read any further: headers and trailers
	// are appended without waiting.
	maxUnwrittenBytes = 1 << 20
	// maxUnwrittenAnswers is how many answers to frames (of settings, pings and streams that were refused) may be
	// unwritten before the connection is not read any further.
	maxUnwrittenAnswers = 256
	// maxBlockedSenders is how many calls may wait for a client that takes nothing before the connection is not read any
	// further.
	maxBlockedSenders = 256
	// ownTurns is how many writes a call's goroutine makes before it leaves the rest to another one.
	ownTurns = 4
	// minBuffer is the size in bytes of a connection's first buffers.
	minBuffer = 512
	// smallBuffer is the size in bytes up to which a connection keeps its buffers while it has nothing to say.
	smallBuffer = 8 << 10
	// largeBuffer is the size in bytes of the buffers that busy connections take from the server's pool.
	largeBuffer = maxPendingBytes + maxFrameBytes + smallBuffer
)

// output is what is on its way to a client. Its lock guards all of a connection. Frames are appended to pending
// under the lock, by whoever has them; then push has them written.
type output struct {
	sync.Mutex
	to   net.Conn
	pool *sync.Pool // of *[]byte of largeBuffer bytes

	pending []byte
	spare   []byte // takes the place of pending while that is written
	writing bool   // somebody writes
	// starting says that a goroutine is on its way to write.
	starting bool
	err      error // why nothing is written any more

	answers int       // appended since the last write began
	unsaid  int       // answers that are not written yet, those being written included
	written sync.Cond // told after each write, and when reading may go on
	blocked []*call   // who waits for room here, or for the window
	window  int64     // what the client lets us send on all streams
}

// Write implements io.Writer for the framer; it appends to what is pending.
func (o *output) Write(b []byte) (int, error) {
	o.reserve(len(b))
	o.pending = append(o.pending, b...)
	return len(b), nil
}

// reserve makes room for n more bytes, in a large buffer from the pool where a small one does not do.
func (o *output) reserve(n int) {
	need := len(o.pending) + n
	if need <= cap(o.pending) || need > largeBuffer {
		return
	}
	var room []byte
	if need <= smallBuffer {
		room = make([]byte, 0, min(smallBuffer, max(minBuffer, 2*need)))
	} else {
		room = *o.pool.Get().(*[]byte)
	}
	o.pending = append(room, o.pending...)
}

// push has everything written that is pending, by the caller if nobody else does. It gives the lock back.
func (o *output) push() {
	if o.writing || len(o.pending) == 0 {
		o.Unlock()
		return
	}
	o.writing = true
	o.write(ownTurns)
}

// pushElsewhere is push for those who must not wait for a client.
func (o *output) pushElsewhere() {
	o.startWriting()
	o.Unlock()
}

// startWriting has another goroutine write what is pending, and keeps the lock.
func (o *output) startWriting() {
	if !o.writing && !o.starting && len(o.pending) > 0 && o.err == nil {
		o.starting = true
		go o.writeSoon()
	}
}

// writeSoon writes what is pending when those had a turn who are about to append more, or to write it themselves: an
// answer to a ping often travels with the reply to a call.
func (o *output) writeSoon() {
	runtime.Gosched()
	o.Lock()
	o.starting = false
	if o.writing {
		o.Unlock()
		return
	}
	o.writing = true
	o.write(-1)
}

// writeOn writes until nothing is pending.
func (o *output) writeOn() {
	o.Lock()
	o.write(-1)
}

// write writes what is pending, so often, or with a negative number until nothing is. It gives the lock back.
func (o *output) write(turns int) {
	for ; len(o.pending) > 0 && o.err == nil; turns-- {
		if turns == 0 {
			go o.writeOn()
			o.Unlock()
			return
		}
		b, answers := o.pending, o.answers
		o.pending, o.spare, o.answers = o.spare, nil, 0
		o.wakeNext()
		o.Unlock()
		_, err := o.to.Write(b)
		o.Lock()
		o.unsaid -= answers
		o.keep(b)
		if err != nil {
			o.fail(err)
			o.to.Close() // the reader notices and ends everything
		}
		o.written.Broadcast()
	}
	if o.err != nil {
		o.pending = nil
	}
	o.writing = false
	o.written.Broadcast()
	o.Unlock()
}

// keep puts a buffer that was written where it is used next.
func (o *output) keep(b []byte) {
	switch {
	case cap(b) <= smallBuffer:
		o.spare = b[:0]
	case cap(b) == largeBuffer:
		b = b[:0]
		o.pool.Put(&b)
	}
}

// fail notes that nothing can be written any more, and drops what is pending.
func (o *output) fail(err error) {
	if o.err == nil {
		o.err = err
	}
	o.pending, o.spare = nil, nil
	for _, k := range o.blocked {
		k.queued = false
		k.wakeSender()
	}
	o.blocked = nil
	o.written.Broadcast()
}

// congested reports whether senders must wait, on whatever stream.
func (o *output) congested() bool { return len(o.pending) >= maxPendingBytes || o.window <= 0 }

// wakeNext tells the first of those who wait that it may go on; it tells the next one, if there is something left for
// it. To wake all at once would have them fight for what is enough for one.
func (o *output) wakeNext() {
	if len(o.blocked) == 0 || o.congested() {
		return
	}
	k := o.blocked[0]
	o.blocked = slices.Delete(o.blocked, 0, 1)
	k.queued = false
	k.wakeSender()
}

// block puts a call among those who wait; in front if its turn had come and somebody else was quicker.
func (o *output) block(k *call, front bool) {
	k.queued = true
	at := len(o.blocked)
	if front {
		at = 0
	}
	o.blocked = slices.Insert(o.blocked, at, k)
}

// unblock takes a call away that waits no longer, for another reason than its turn.
func (o *output) unblock(k *call) {
	k.queued = false
	if i := slices.Index(o.blocked, k); i >= 0 {
		o.blocked = slices.Delete(o.blocked, i, i+1)
	}
}

// answer notes that the frame appended last answers one of the client's.
func (o *output) answer() {
	o.answers++
	o.unsaid++
}

// full reports whether the client must take something before more is read of it.
func (o *output) full() bool {
	return o.unsaid >= maxUnwrittenAnswers || len(o.pending) >= maxUnwrittenBytes ||
		len(o.pending) >= maxPendingBytes && len(o.blocked) >= maxBlockedSenders
}
