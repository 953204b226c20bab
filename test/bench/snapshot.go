package main

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// A bbolt file begins with a page header of fileMagicAt bytes and then this number, little-endian.
const (
	fileMagicAt = 16
	fileMagic   = 0xED0CDAED
)

// trailerSize is the length in bytes of the checksum behind the file, which remaining_bytes does not count.
const trailerSize = 32

// streamed is a snapshot as it came over the wire.
type streamed struct {
	bytes int64
	took  time.Duration
	// promised is what the first message said is to come: its own bytes and remaining_bytes.
	promised int64
}

// snapshot streams a snapshot and drops it. It checks the beginning, the announced length and the end; whether
// what is between can be restored is proven by the integration tests.
func (s *server) snapshot() (streamed, error) {
	c, err := s.dial()
	if err != nil {
		return streamed{}, err
	}
	defer c.close()
	c.setDeadline(time.Time{})
	began := time.Now()
	message, start := beginMessage(nil)
	id, err := c.open(methodSnapshot, endMessage(message, start), true)
	if err != nil {
		return streamed{}, err
	}
	var got streamed
	var rest []byte
	owed := 0
	for {
		e, err := c.next()
		if err != nil {
			return streamed{}, fmt.Errorf("stream a snapshot: %w", err)
		}
		if e.stream != id {
			continue
		}
		if e.ended && e.err != nil {
			return streamed{}, fmt.Errorf("stream a snapshot: %w", e.err)
		}
		if owed += len(e.data); owed > receiveWindow/2 {
			if err := c.framer.WriteWindowUpdate(id, uint32(owed)); err != nil {
				return streamed{}, err
			}
			owed = 0
		}
		data := e.data
		if len(rest) > 0 {
			rest = append(rest, data...)
			data = rest
		}
		unread, err := splitMessages(data, got.take)
		if err != nil {
			return streamed{}, err
		}
		rest = append(rest[:0], unread...)
		if e.ended {
			got.took = time.Since(began)
			return got, got.check(len(rest))
		}
	}
}

// take counts the bytes of one message.
func (g *streamed) take(message []byte) error {
	var remaining int64
	var blob []byte
	err := eachField(message, func(field protowire.Number, number uint64, value []byte) {
		switch field {
		case 2:
			remaining = int64(number)
		case 3:
			blob = value
		}
	})
	if err != nil {
		return err
	}
	if g.bytes == 0 && len(blob) > 0 {
		if len(blob) < fileMagicAt+4 || binary.LittleEndian.Uint32(blob[fileMagicAt:]) != fileMagic {
			return fmt.Errorf("stream a snapshot: it does not begin like a bbolt file")
		}
		g.promised = int64(len(blob)) + remaining
	}
	g.bytes += int64(len(blob))
	return nil
}

func (g *streamed) check(left int) error {
	if left > 0 {
		return fmt.Errorf("stream a snapshot: it ends within a message")
	}
	if g.bytes == 0 || g.bytes != g.promised && g.bytes != g.promised+trailerSize {
		return fmt.Errorf("stream a snapshot: %d bytes came and %d were announced", g.bytes, g.promised)
	}
	return nil
}

// peakPoll is how often memory is looked at for its peak.
const peakPoll = 10 * time.Millisecond

// peak is the greatest resident memory of a process while something ran: each kind on its own, so that the sum
// may exceed the whole.
func peak(pid int, meanwhile func() error) (memory, error) {
	var most memory
	var failed error
	done := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			m, err := residentMemory(pid)
			if err != nil {
				failed = err
				return
			}
			most = memory{
				Resident: max(most.Resident, m.Resident), Anon: max(most.Anon, m.Anon), File: max(most.File, m.File),
			}
			select {
			case <-done:
				return
			case <-time.After(peakPoll):
			}
		}
	})
	err := meanwhile()
	close(done)
	group.Wait()
	if err == nil {
		err = failed
	}
	return most, err
}
