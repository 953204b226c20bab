package main

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// watchers is one watch stream, on a connection of its own, with many watchers on the same range. Its
// goroutine does little more than count events.
type watchers struct {
	conn   *connection
	stream uint32
	rest   []byte // the unfinished end of what was received
	owed   int    // bytes received on the stream since its last refill

	created   *atomic.Int64 // shared by all streams
	delivered *atomic.Int64 // shared by all streams
	sampling  *atomic.Bool  // shared; set while lags count
	sampled   int64         // the watcher whose lags are measured
	lag       histogram
}

// openWatchers opens a stream and asks for so many watchers on [key, end).
func openWatchers(c *connection, count int, key, end []byte, shared *watchers) (*watchers, error) {
	w := &watchers{conn: c, created: shared.created, delivered: shared.delivered, sampling: shared.sampling}
	create := appendWatchCreate(nil, key, end)
	var err error
	if w.stream, err = c.open(methodWatch, create, false); err != nil {
		return nil, err
	}
	for range count - 1 {
		if err := c.send(w.stream, create, false); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// receive reads events until the connection is closed or fails; only the caller knows which it was.
func (w *watchers) receive() error {
	for {
		e, err := w.conn.next()
		if err != nil {
			return err
		}
		if e.stream != w.stream {
			continue
		}
		if e.ended {
			return fmt.Errorf("watch stream ended: %w", e.err)
		}
		if err := w.data(e.data); err != nil {
			return err
		}
	}
}

func (w *watchers) data(data []byte) error {
	w.owed += len(data)
	if w.owed > receiveWindow/2 {
		if err := w.conn.framer.WriteWindowUpdate(w.stream, uint32(w.owed)); err != nil {
			return err
		}
		w.owed = 0
	}
	if len(w.rest) > 0 {
		w.rest = append(w.rest, data...)
		data = w.rest
	}
	rest, err := splitMessages(data, w.take)
	w.rest = append(w.rest[:0], rest...)
	return err
}

// take counts the events of one response.
func (w *watchers) take(message []byte) error {
	r, err := parseWatchResponse(message)
	if err != nil {
		return err
	}
	if r.canceled {
		return fmt.Errorf("watcher %d was cancelled", r.watcher)
	}
	if r.created {
		w.sampled = max(w.sampled, r.watcher)
		w.created.Add(1)
	}
	if r.events == 0 {
		return nil
	}
	if r.watcher == w.sampled && w.sampling.Load() {
		sent, err := sentTime(r.event)
		if err != nil {
			return err
		}
		w.lag.record(time.Since(sent))
	}
	w.delivered.Add(int64(r.events))
	return nil
}

// watchResponse is what the benchmark wants to know of a WatchResponse.
type watchResponse struct {
	watcher           int64
	created, canceled bool
	events            int
	event             []byte // the first event, encoded
}

// parseWatchResponse decodes just that. Counting must cost the client far less than sending costs a server.
func parseWatchResponse(message []byte) (watchResponse, error) {
	var r watchResponse
	err := eachField(message, func(field protowire.Number, number uint64, value []byte) {
		switch field {
		case 2:
			r.watcher = int64(number)
		case 3:
			r.created = number != 0
		case 4:
			r.canceled = number != 0
		case 11:
			if r.events == 0 {
				r.event = value
			}
			r.events++
		}
	})
	return r, err
}

// sentTime reads the time of sending from the front of the value of an encoded event.
func sentTime(event []byte) (time.Time, error) {
	var kv, value []byte
	err := eachField(event, func(field protowire.Number, _ uint64, bytes []byte) {
		if field == 2 {
			kv = bytes
		}
	})
	if err == nil {
		err = eachField(kv, func(field protowire.Number, _ uint64, bytes []byte) {
			if field == 5 {
				value = bytes
			}
		})
	}
	if err != nil {
		return time.Time{}, err
	}
	if len(value) < 8 {
		return time.Time{}, fmt.Errorf("read event: a value of %d bytes", len(value))
	}
	return time.Unix(0, int64(binary.LittleEndian.Uint64(value))), nil
}

// eachField hands over the fields of an encoded message: number for varints, value for length-delimited ones.
func eachField(message []byte, take func(field protowire.Number, number uint64, value []byte)) error {
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("decode message: %w", protowire.ParseError(n))
		}
		message = message[n:]
		var number uint64
		var value []byte
		switch kind {
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(field, kind, message)
		}
		if n < 0 {
			return fmt.Errorf("decode message: %w", protowire.ParseError(n))
		}
		take(field, number, value)
		message = message[n:]
	}
	return nil
}

// crowd is all watch streams of a block.
type crowd struct {
	streams   []*watchers
	created   atomic.Int64
	delivered atomic.Int64
	sampling  atomic.Bool
	group     sync.WaitGroup
	failed    chan error // takes the first failure
	closing   atomic.Bool
}

// gather opens the streams, waits until every watcher exists and keeps receiving until leave.
func gather(s *server, streams, perStream int, key, end []byte) (*crowd, error) {
	conns, err := s.connect(streams)
	if err != nil {
		return nil, err
	}
	c := &crowd{failed: make(chan error, streams)}
	shared := &watchers{created: &c.created, delivered: &c.delivered, sampling: &c.sampling}
	for _, conn := range conns {
		conn.setDeadline(time.Time{})
		w, err := openWatchers(conn, perStream, key, end, shared)
		if err != nil {
			closeAll(conns)
			c.group.Wait()
			return nil, err
		}
		c.streams = append(c.streams, w)
		c.group.Go(func() {
			if err := w.receive(); !c.closing.Load() {
				c.failed <- err
			}
		})
	}
	if err := c.await(&c.created, int64(streams*perStream)); err != nil {
		c.leave()
		return nil, fmt.Errorf("create watchers: %w", err)
	}
	return c, nil
}

// await waits until a counter has reached a value.
func (c *crowd) await(counter *atomic.Int64, want int64) error {
	deadline := time.Now().Add(drainLimit)
	for counter.Load() < want {
		select {
		case err := <-c.failed:
			return err
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d after %v", counter.Load(), want, drainLimit)
		}
	}
	return nil
}

// leave closes the streams and returns the lags they measured.
func (c *crowd) leave() *histogram {
	c.closing.Store(true)
	lag := &histogram{}
	for _, w := range c.streams {
		w.conn.close()
	}
	c.group.Wait()
	for _, w := range c.streams {
		lag.merge(&w.lag)
	}
	return lag
}
