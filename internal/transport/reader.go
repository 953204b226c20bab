package transport

import (
	"errors"
	"io"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/mem"
)

// maxSettings is how many settings a frame may have: there are less than ten kinds, and each one may concern all calls.
const maxSettings = 100

// read handles the client's frames until the connection ends.
func (c *conn) read() error {
	for {
		c.throttle()
		head, err := c.framer.ReadFrameHeader()
		if err != nil {
			return readError(err)
		}
		if err := c.readFrame(head); err != nil {
			var ofStream streamError
			if !errors.As(err, &ofStream) {
				return err
			}
			if err := c.refuseStream(ofStream); err != nil {
				return err
			}
		}
	}
}

// throttle stops reading while the client makes work for us and does not take the answers: while too much is
// unwritten, or too many handlers run whose streams the client has reset.
func (c *conn) throttle() {
	c.out.Lock()
	defer c.out.Unlock()
	for (c.out.full() || c.abandoned >= maxAbandoned) && c.out.err == nil {
		c.out.startWriting()
		c.out.written.Wait()
	}
}

// refuseStream ends a stream because of a fault of the client.
func (c *conn) refuseStream(e streamError) error {
	c.out.Lock()
	if c.idle(e.id) {
		c.out.Unlock()
		return connError{e.code, "fault on a stream that nobody opened"}
	}
	k := c.calls[e.id]
	c.resetStream(e.id, e.code, k)
	c.out.Unlock()
	if k != nil {
		k.cancel()
	}
	return nil
}

// readFrame handles one frame.
func (c *conn) readFrame(head http2.FrameHeader) error {
	switch head.Type {
	case http2.FrameData:
		return c.readData(head)
	case http2.FrameHeaders:
		return c.readHeaders(head)
	case http2.FrameContinuation:
		return protocolError("CONTINUATION without HEADERS")
	case http2.FramePushPromise:
		return protocolError("PUSH_PROMISE from a client")
	}
	frame, err := c.framer.ReadFrameForHeader(head)
	if err != nil {
		return readError(err)
	}
	c.out.Lock()
	defer c.out.Unlock()
	switch f := frame.(type) {
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.PingFrame:
		return c.onPing(f)
	case *http2.WindowUpdateFrame:
		return c.onWindowUpdate(f)
	case *http2.RSTStreamFrame:
		return c.onReset(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return streamError{f.StreamID, http2.ErrCodeProtocol}
		}
	}
	return nil // priorities, GOAWAY and what nobody knows
}

// onSettings takes over the client's settings.
func (c *conn) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	if f.NumSettings() > maxSettings {
		return connError{http2.ErrCodeEnhanceYourCalm, "too many settings"}
	}
	if err := f.ForeachSetting(c.onSetting); err != nil {
		return err
	}
	c.out.answer()
	return c.framer.WriteSettingsAck()
}

func (c *conn) onSetting(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return readError(err)
	}
	switch s.ID {
	case http2.SettingInitialWindowSize:
		delta := int64(s.Val) - c.initialWindow
		c.initialWindow = int64(s.Val)
		for _, k := range c.calls {
			if k.sendWindow += delta; k.sendWindow > maxWindow {
				return connError{http2.ErrCodeFlowControl, "a window is too large"}
			}
			k.wakeSender()
		}
	case http2.SettingMaxHeaderListSize:
		c.maxHeaderList = s.Val
	case http2.SettingHeaderTableSize:
		// We use no dynamic table. A client that makes its smaller waits to hear that we keep to it.
		c.shrinkTable = c.shrinkTable || s.Val < defaultTableBytes
	}
	return nil
}

func (c *conn) onWindowUpdate(f *http2.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		if c.out.window += int64(f.Increment); c.out.window > maxWindow {
			return connError{http2.ErrCodeFlowControl, "the window is too large"}
		}
		c.out.wakeNext()
		return nil
	}
	if c.idle(f.StreamID) {
		return protocolError("WINDOW_UPDATE of a stream that nobody opened")
	}
	k := c.calls[f.StreamID]
	if k == nil {
		return nil
	}
	if k.sendWindow += int64(f.Increment); k.sendWindow > maxWindow {
		return streamError{f.StreamID, http2.ErrCodeFlowControl}
	}
	k.wakeSender()
	return nil
}

func (c *conn) onReset(f *http2.RSTStreamFrame) error {
	if c.idle(f.StreamID) {
		return protocolError("RST_STREAM of a stream that nobody opened")
	}
	if k := c.calls[f.StreamID]; k != nil {
		c.leave(k)
		k.cancel()
	}
	return nil
}

// idle reports whether a stream was never opened.
func (c *conn) idle(id uint32) bool { return id > c.lastID || id%2 == 0 }

// readData hands what a DATA frame carries to its call.
func (c *conn) readData(head http2.FrameHeader) error {
	if head.StreamID == 0 {
		return protocolError("DATA without a stream")
	}
	length := int(head.Length)
	padding, err := c.readPadLength(head.Flags.Has(http2.FlagDataPadded), &length)
	if err != nil {
		return err
	}
	k, err := c.admitData(head)
	if k == nil {
		if _, discard := c.in.Discard(length); discard != nil {
			return discard
		}
		return err
	}
	data, err := c.readPayload(k, length-padding)
	if err != nil {
		return err
	}
	if _, err := c.in.Discard(padding); err != nil {
		data.Free()
		return err
	}
	return c.deliver(k, data, int(head.Length), head.Flags.Has(http2.FlagDataEndStream))
}

// readPadLength reads how much padding a frame ends with, and takes the byte that says so off length.
func (c *conn) readPadLength(padded bool, length *int) (int, error) {
	if !padded {
		return 0, nil
	}
	if *length == 0 {
		return 0, connError{http2.ErrCodeFrameSize, "no room for the length of the padding"}
	}
	b, err := c.in.ReadByte()
	if err != nil {
		return 0, err
	}
	*length--
	if int(b) > *length {
		return 0, protocolError("more padding than frame")
	}
	return int(b), nil
}

// admitData finds the call that data is for, and takes the data off the connection's window. It returns no call when
// the data is to be thrown away.
func (c *conn) admitData(head http2.FrameHeader) (*call, error) {
	c.out.Lock()
	defer c.out.Unlock()
	if c.idle(head.StreamID) {
		return nil, protocolError("DATA on a stream that nobody opened")
	}
	if c.recvWindow -= int(head.Length); c.recvWindow < 0 {
		return nil, connError{http2.ErrCodeFlowControl, "more data than the connection's window"}
	}
	if c.recvWindow < connWindow/2 && c.out.err == nil {
		_ = c.framer.WriteWindowUpdate(0, uint32(connWindow-c.recvWindow))
		c.out.answer()
		c.recvWindow = connWindow
	}
	k := c.recent
	if k == nil || k.id != head.StreamID || k.closed {
		k = c.calls[head.StreamID]
	}
	switch {
	case k == nil && (c.weLeft(head.StreamID) || c.lastAllowed > 0 && head.StreamID > c.lastAllowed):
		return nil, nil
	case k == nil || k.in.ended:
		return nil, streamError{head.StreamID, http2.ErrCodeStreamClosed}
	case int(head.Length) > k.in.window:
		return nil, streamError{head.StreamID, http2.ErrCodeFlowControl}
	}
	return k, nil
}

// readPayload reads n bytes of data, into the call's own memory if they are few and the first.
func (c *conn) readPayload(k *call, n int) (mem.Buffer, error) {
	if n == 0 {
		return mem.SliceBuffer(nil), nil
	}
	if n <= len(k.inline) && !k.inlineUsed {
		k.inlineUsed = true
		k.first = k.inline[:n]
		_, err := io.ReadFull(c.in, k.first)
		return &k.first, err
	}
	if mem.IsBelowBufferPoolingThreshold(n) {
		b := mem.SliceBuffer(make([]byte, n))
		_, err := io.ReadFull(c.in, b)
		return b, err
	}
	pooled := mem.DefaultBufferPool().Get(n)
	if _, err := io.ReadFull(c.in, *pooled); err != nil {
		mem.DefaultBufferPool().Put(pooled)
		return nil, err
	}
	return mem.NewBuffer(pooled, mem.DefaultBufferPool()), nil
}

// deliver puts data behind what a call has received, and begins the call if that was all of its question. took is
// how much of the stream's window it took, with padding.
func (c *conn) deliver(k *call, data mem.Buffer, took int, ended bool) error {
	c.out.Lock()
	if k.closed {
		c.out.Unlock()
		data.Free()
		return nil
	}
	if k.request.length >= 0 {
		if k.request.length -= int64(data.Len()); k.request.length < 0 || ended && k.request.length > 0 {
			c.out.Unlock()
			data.Free()
			return streamError{k.id, http2.ErrCodeProtocol}
		}
	}
	k.in.put(data, took)
	k.in.ended = k.in.ended || ended
	begin := !k.started && k.in.complete()
	k.started = k.started || begin
	k.giveCredit()
	k.wakeReceiver()
	c.out.Unlock()
	if begin {
		c.server.workers.run(k)
	}
	return nil
}
