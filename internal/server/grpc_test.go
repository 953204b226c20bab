package server

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestTheTransportIsChosen starts a server with each transport, has it answer a call, and stops it.
func TestTheTransportIsChosen(t *testing.T) {
	for flag, want := range map[string]string{
		"--grpc-transport=keelson":           "*transport.Server",
		"--grpc-transport=grpc-go":           "*grpc.Server",
		"--enable-distributed-tracing":       "*grpc.Server", // ours tells nobody
		"--enable-distributed-tracing=false": "*transport.Server",
	} {
		t.Run(flag, func(t *testing.T) {
			r := run(t, vfs.NewMem(), flag)
			if got := fmt.Sprintf("%T", r.grpc); got != want {
				t.Errorf("%s serves, want %s", got, want)
			}
			if _, err := pb.NewKVClient(r.conn).Put(t.Context(), &pb.PutRequest{Key: []byte("k")}); err != nil {
				t.Error(err)
			}
			if err := r.end(t); err != nil {
				t.Error(err)
			}
		})
	}
}
