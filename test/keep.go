//go:build keep

package test

// The benchmark and the integration tests share one list of requirements. This file is never built; tidying the
// module reads it, so that a requirement does not come and go with the package that happens to need it today.
import (
	_ "github.com/anishathalye/porcupine"
	_ "github.com/bufbuild/protocompile"
	_ "github.com/prometheus/common/expfmt"
	_ "go.etcd.io/etcd/api/v3/etcdserverpb"
	_ "go.etcd.io/etcd/client/v3"
	_ "golang.org/x/net/http2"
	_ "golang.org/x/sys/unix"
	_ "google.golang.org/grpc"
	_ "google.golang.org/protobuf/proto"
)
