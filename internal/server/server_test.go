package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/keelson-db/keelson/internal/config"
	"github.com/keelson-db/keelson/internal/storage"
)

// running is a whole server on a disk in memory and a loopback port.
type running struct {
	*Server
	conn *grpc.ClientConn
	stop context.CancelFunc
	done chan error
}

func run(t *testing.T, disk vfs.FS, flags ...string) *running {
	t.Helper()
	s, addr, err := openServer(t.Context(), disk, flags...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{Server: s, stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-r.done:
		t.Fatalf("the server ended before it was ready: %v", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the server is not ready")
	}
	if r.conn, err = grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.conn.Close() })
	return r
}

func openServer(ctx context.Context, disk vfs.FS, flags ...string) (*Server, string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	c, err := config.Parse(append([]string{"--data-dir", "d", "--name", "default"}, flags...), nil, "keelson")
	if err != nil {
		return nil, "", errors.Join(err, l.Close())
	}
	s, err := Open(ctx, c, Env{
		FS: disk, Seed: uint64(time.Now().UnixNano()), Log: slog.New(slog.DiscardHandler),
		Listen: func(ctx context.Context, network, address string) (net.Listener, error) {
			if address == "localhost:2379" {
				return l, nil
			}
			return new(net.ListenConfig).Listen(ctx, network, "127.0.0.1:0") // for other members, of whom there are none
		},
	})
	return s, l.Addr().String(), err
}

// end asks the server to stop and returns what Run said.
func (r *running) end(t *testing.T) error {
	t.Helper()
	r.stop()
	return r.wait(t)
}

func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("the server does not end")
		return nil
	}
}

func TestAServerStopsInOrderAndFindsEverythingAgain(t *testing.T) {
	disk := vfs.NewMem()
	r := run(t, disk)
	kv := pb.NewKVClient(r.conn)
	if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	// A watch never ends by itself: it must not keep the server from stopping.
	watch, err := pb.NewWatchClient(r.conn).Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	create := &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("k")}}
	if err := watch.Send(&pb.WatchRequest{RequestUnion: create}); err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := r.end(t); err != nil {
		t.Fatalf("an orderly stop ended with: %v", err)
	}
	r = run(t, disk)
	got, err := pb.NewKVClient(r.conn).Range(t.Context(), &pb.RangeRequest{Key: []byte("k")})
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Fatalf("after the restart: %v, %v", got, err)
	}
	if err := r.end(t); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryHasOneServer(t *testing.T) {
	disk := vfs.NewMem()
	r := run(t, disk)
	if _, _, err := openServer(t.Context(), disk); !errors.Is(err, storage.ErrLocked) {
		t.Errorf("a second server was opened, or says: %v", err)
	}
	if err := r.end(t); err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryOfEtcdIsLeftAlone(t *testing.T) {
	disk := vfs.NewMem()
	if err := disk.MkdirAll("d/member/snap", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := openServer(t.Context(), disk); err == nil || !strings.Contains(err.Error(), "belongs to etcd") {
		t.Errorf("opened, or says: %v", err)
	}
	if names, err := disk.List("d"); err != nil || len(names) != 1 {
		t.Errorf("the directory was changed: %v, %v", names, err)
	}
}

func TestHalfADirectoryIsRefused(t *testing.T) {
	for _, lost := range []string{stateDir, logDir} {
		disk := vfs.NewMem()
		r := run(t, disk)
		kv := pb.NewKVClient(r.conn)
		for range 3 {
			if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k")}); err != nil {
				t.Fatal(err)
			}
		}
		// The log is cut behind the state, so that it can no longer stand for it.
		if err := r.data.engine.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := r.data.log.Compact(r.data.machine.Applied().Index); err != nil {
			t.Fatal(err)
		}
		if _, err := kv.Put(t.Context(), &pb.PutRequest{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
		if err := r.end(t); err != nil {
			t.Fatal(err)
		}
		if err := disk.RemoveAll("d/" + lost); err != nil {
			t.Fatal(err)
		}
		if _, _, err := openServer(t.Context(), disk); err == nil || !strings.Contains(err.Error(), "restore a backup") {
			t.Errorf("without its %s the directory was opened, or the error says: %v", lost, err)
		}
	}
}

func TestAServerEndsWhenItsDiskFails(t *testing.T) {
	var full atomic.Bool
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWriteAt && strings.Contains(op.Path, logDir) {
			return syscall.ENOSPC
		}
		return nil
	}))
	r := run(t, disk)
	full.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := pb.NewKVClient(r.conn).Put(ctx, &pb.PutRequest{Key: []byte("k")}); err == nil {
		t.Error("a put on a full disk was acknowledged")
	}
	if err := r.wait(t); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the server ended with: %v", err)
	}
}

func TestALogOfAnotherMemberIsRefused(t *testing.T) {
	disks := [2]vfs.FS{vfs.NewMem(), vfs.NewMem()}
	for _, disk := range disks {
		r := run(t, disk)
		if _, err := pb.NewKVClient(r.conn).Put(t.Context(), &pb.PutRequest{Key: []byte("k")}); err != nil {
			t.Fatal(err)
		}
		if err := r.end(t); err != nil {
			t.Fatal(err)
		}
	}
	mixed := disks[0]
	if err := mixed.RemoveAll("d/" + logDir); err != nil {
		t.Fatal(err)
	}
	if ok, err := vfs.Clone(disks[1], mixed, "d/"+logDir, "d/"+logDir); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, _, err := openServer(t.Context(), mixed); err == nil || !strings.Contains(err.Error(), "another member") {
		t.Errorf("opened, or says: %v", err)
	}
}
