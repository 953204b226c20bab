package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keelson-db/keelson/internal/config"
)

// TestDoorsSpeakWhatTheirURLsSay serves one address with and without TLS, and metrics with it, on a
// certificate that the server makes itself and keeps.
func TestDoorsSpeakWhatTheirURLsSay(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	c, err := config.Parse([]string{
		"--data-dir", dir, "--auto-tls", "--listen-client-urls", "http://127.0.0.1:1,https://127.0.0.1:1",
		"--advertise-client-urls", "https://127.0.0.1:1", "--listen-metrics-urls", "https://127.0.0.1:2",
	}, nil, "keelson")
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]string{} // where the addresses of the configuration really are
	s, err := Open(t.Context(), c, Env{
		FS: vfs.NewMem(), Seed: uint64(time.Now().UnixNano()), Log: slog.New(slog.DiscardHandler),
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			l, err := new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0")
			if err == nil {
				if at[address] != "" {
					t.Errorf("%s was opened twice", address)
				}
				at[address] = l.Addr().String()
			}
			return l, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Server: s, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx) }()

	made, err := os.ReadFile(filepath.Join(dir, autoTLSDir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	client := &tls.Config{RootCAs: x509.NewCertPool()}
	client.RootCAs.AppendCertsFromPEM(made)
	for _, creds := range []credentials.TransportCredentials{insecure.NewCredentials(), credentials.NewTLS(client)} {
		conn, err := grpc.NewClient(at["127.0.0.1:1"], grpc.WithTransportCredentials(creds))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("k")}, grpc.WaitForReady(true)); err != nil {
			t.Errorf("%s: %v", creds.Info().SecurityProtocol, err)
		}
	}
	transport := &http.Transport{TLSClientConfig: client, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	for _, url := range []string{
		"http://" + at["127.0.0.1:1"] + "/health", "https://" + at["127.0.0.1:1"] + "/health",
		"https://" + at["127.0.0.1:2"] + "/health", "https://" + at["127.0.0.1:2"] + "/metrics",
	} {
		resp, err := (&http.Client{Transport: transport}).Get(url)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

// TestWrongFilesStopTheStartBeforeData starts with certificates that are not there.
func TestWrongFilesStopTheStartBeforeData(t *testing.T) {
	c, err := config.Parse([]string{
		"--data-dir", "d", "--listen-client-urls", "https://127.0.0.1:1", "--advertise-client-urls", "https://127.0.0.1:1",
		"--cert-file", "no-such-file", "--key-file", "no-such-file",
	}, nil, "keelson")
	if err != nil {
		t.Fatal(err)
	}
	disk := vfs.NewMem()
	_, err = Open(t.Context(), c, Env{
		FS: disk, Log: slog.New(slog.DiscardHandler),
		Listen: func(ctx context.Context, _, _ string) (net.Listener, error) {
			return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		},
	})
	if err == nil {
		t.Fatal("the server started")
	}
	if left, err := disk.List(""); err != nil || len(left) > 0 {
		t.Errorf("the refused start left %v behind, %v", left, err)
	}
}
