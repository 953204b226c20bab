package web

import (
	"crypto/tls"
	"net"
	"net/http"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Credentials are the transport credentials of a gRPC server that serves a Splitter's connections. The
// handshake is over when gRPC sees them: what is left is to tell gRPC what came of it, so that services find
// the client's certificate. Plain connections, also those in memory, are what they are without credentials.
func Credentials() credentials.TransportCredentials {
	return finished{insecure.NewCredentials()}
}

// finished answers for handshakes that are over.
type finished struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (f finished) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, ok := conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return f.TransportCredentials.ServerHandshake(conn)
	}
	return conn, credentials.TLSInfo{
		State:          secured.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone implements credentials.TransportCredentials.
func (f finished) Clone() credentials.TransportCredentials {
	return finished{f.TransportCredentials.Clone()}
}

// refuseGRPC answers calls of gRPC on a connection whose first request was none. gRPC over net/http costs
// twice as much and cannot be stopped gently, and no client mixes the two: so it is told to try again, which
// it does on a connection of its own. A proxy might mix them; it is told to open no more streams on this connection,
// while those that are open go on.
func refuseGRPC(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || !isGRPC(r.Header.Get("Content-Type")) {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Connection", "close") // HTTP/2 makes a GOAWAY of it
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", strconv.Itoa(int(codes.Unavailable)))
		w.Header().Set("Grpc-Message", "this connection carries plain HTTP requests: use another one for gRPC")
		w.WriteHeader(http.StatusOK)
	})
}
