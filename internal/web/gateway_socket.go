package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// goodbyeTimeout is how long is waited for a WebSocket client to take the closing frame.
const goodbyeTimeout = time.Second

// asksForSocket says whether a request wants to become a WebSocket.
func asksForSocket(r *http.Request) bool { return websocket.IsWebSocketUpgrade(r) }

// serveSocket carries one request over a WebSocket: each message of the client is a piece of the request's
// body, each line of the answer a message to the client.
func (g *gateway) serveSocket(ctx context.Context, cancel context.CancelFunc, w http.ResponseWriter, r *http.Request) {
	protocol := r.Header.Get("Sec-WebSocket-Protocol")
	answer := http.Header{}
	if strings.HasPrefix(protocol, "Bearer") {
		answer.Set("Sec-WebSocket-Protocol", "Bearer")
	}
	upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := upgrader.Upgrade(w, r, answer)
	if err != nil {
		g.log.Debug("a WebSocket could not be opened", "remote", r.RemoteAddr, "error", err)
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // it may wait for a client that takes nothing
	conn.SetReadLimit(g.bodyBytes)

	body, pieces := io.Pipe()
	defer body.Close()
	request := r.WithContext(ctx)
	request.Method, request.Body, request.ContentLength = http.MethodPost, body, -1
	request.Header = socketHeader(r.Header, protocol)

	lines := &socketLines{conn: conn, header: http.Header{}}
	asking, over := context.WithCancel(ctx) // it ends before the connection, so that an error can be told
	defer over()
	input := g.bodyOf(request, over)
	go func() {
		defer cancel() // A client that has gone wants no answer.
		readSocket(conn, pieces, input.converses)
	}()
	g.serve(asking, lines, request, input)
	lines.end()
	if lines.err != nil && ctx.Err() == nil {
		g.log.Debug("a WebSocket broke", slog.String("remote", r.RemoteAddr), slog.Any("error", lines.err))
	}
}

// socketHeader is the header of the request that a WebSocket carries. Browsers cannot set the authorization
// of a WebSocket, so the token comes where the subprotocol is named: "Bearer, <token>".
func socketHeader(theirs http.Header, protocol string) http.Header {
	header := http.Header{}
	for name, values := range theirs {
		switch {
		case name == "Origin", name == "Referer", name == "Authorization", strings.HasPrefix(name, "Grpc-Metadata-"):
			header[name] = values
		}
	}
	if _, token, ok := strings.Cut(protocol, "Bearer,"); ok {
		header.Set("Authorization", "Bearer "+strings.Trim(token, " "))
	}
	return header
}

// readSocket passes on what the client sends, until it goes away or nobody wants more. Where no conversation
// is held the first message is all, and the request ends with it.
func readSocket(conn *websocket.Conn, pieces *io.PipeWriter, converses bool) {
	defer pieces.Close()
	for {
		_, piece, err := conn.ReadMessage()
		if err != nil {
			return
		}
		// After the end of the body the client is only listened to so that its going is noticed.
		_, err = pieces.Write(append(piece, '\n'))
		if err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return
		}
		if !converses {
			pieces.Close()
		}
	}
}

// socketLines sends what is written to it, line by line. It is written to by one goroutine.
type socketLines struct {
	conn   *websocket.Conn
	header http.Header
	begun  bytes.Buffer // a line without its end
	err    error        // of the connection; it is final
}

// Header implements http.ResponseWriter. A message of a WebSocket has none, so nobody will see it.
func (l *socketLines) Header() http.Header { return l.header }

// WriteHeader implements http.ResponseWriter. An error is seen by its body.
func (l *socketLines) WriteHeader(int) {}

// Flush implements http.Flusher: a line is sent when it is complete.
func (l *socketLines) Flush() {}

// Write implements http.ResponseWriter.
func (l *socketLines) Write(p []byte) (int, error) {
	written := len(p)
	for l.err == nil {
		line, rest, complete := bytes.Cut(p, []byte("\n"))
		l.begun.Write(line)
		if !complete {
			break
		}
		l.send()
		p = rest
	}
	return written, l.err
}

// send sends the line that was begun, if there is anything in it.
func (l *socketLines) send() {
	if l.begun.Len() > 0 && l.err == nil {
		l.err = l.conn.WriteMessage(websocket.TextMessage, l.begun.Bytes())
	}
	l.begun.Reset()
}

// end sends what is left and says goodbye.
func (l *socketLines) end() {
	l.send()
	if l.err == nil {
		l.err = l.conn.WriteControl(websocket.CloseMessage,
			websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(goodbyeTimeout))
	}
}
