package integration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/test/harness"
)

// mountTmpfs mounts a small file system of its own, which needs root; without it the test is skipped.
func mountTmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("mounting a small file system is not allowed here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func remountReadOnly(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("make the file system read-only: %v", err)
	}
}

// TestAFullDiskLosesNothing fills the disk under a writing server, sees writes refused or the server end with a clear
// reason, gives the space back, and finds every acknowledged write.
func TestAFullDiskLosesNothing(t *testing.T) {
	t.Parallel()
	const leaveFree = 12 << 20 // bytes
	disk := mountTmpfs(t, "600m")
	n := harness.Start(t, harness.Options{Dir: filepath.Join(disk, "node")})
	conn := n.Conn(t)
	kv := pb.NewKVClient(conn)
	acked := map[string]int64{}
	value := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%06d.", i), 10_000) }
	put := func(kv pb.KVClient, i int) error {
		ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
		defer cancel()
		key := fmt.Sprintf("full/%06d", i)
		r, err := kv.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value(i)})
		if err == nil {
			acked[key] = r.Header.Revision
		}
		return err
	}
	for i := range 50 {
		if err := put(kv, i); err != nil {
			t.Fatal(err)
		}
	}
	ballast := fillDisk(t, disk, leaveFree)

	var refusal error
	for i := 50; i < 10_000 && refusal == nil; i++ {
		refusal = put(kv, i)
	}
	if refusal == nil {
		t.Fatal("700 MB fit on a full disk")
	}
	t.Logf("%d writes were acknowledged, then: %v; the server has ended: %v", len(acked), refusal, n.Proc().Exited())
	// Whether the server goes on reading or ends, it says why.
	if onKeelson() {
		err := harness.Poll(5*time.Second, func() error {
			if !n.Log.Contains("no space left on device") {
				return fmt.Errorf("the log ends with %s", n.Log.Tail(300))
			}
			return nil
		})
		if err != nil {
			t.Errorf("the server does not say why it refuses: %v", err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if !n.Proc().Exited() {
		n.Kill9(t)
	}
	n.Restart(t)
	findAll(t, pb.NewKVClient(n.Conn(t)), acked, value)
}

// findAll checks that every acknowledged write stands at its revision with its bytes, and that writing works again.
func findAll(t *testing.T, kv pb.KVClient, acked map[string]int64, value func(int) []byte) {
	t.Helper()
	all, err := kv.Range(harness.Ctx(t), &pb.RangeRequest{Key: []byte("full/"), RangeEnd: []byte("full0")})
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range all.Kvs {
		if !bytes.Equal(x.Value, value(i)) {
			t.Errorf("the value of %s is damaged", x.Key)
		}
		if rev := acked[string(x.Key)]; rev != 0 && rev != x.ModRevision {
			t.Errorf("%s stands at %d, acknowledged was %d", x.Key, x.ModRevision, rev)
		}
		delete(acked, string(x.Key))
	}
	if len(acked) > 0 {
		t.Errorf("%d acknowledged writes are gone: %v", len(acked), acked)
	}
	if _, err := kv.Put(harness.Ctx(t), &pb.PutRequest{Key: []byte("after")}); err != nil {
		t.Errorf("put when there is space again: %v", err)
	}
}

// fillDisk writes a file until only the given number of bytes is free.
func fillDisk(t *testing.T, dir string, leave int64) string {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	free := int64(st.Bavail) * st.Bsize
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, max(free-leave, 1)); err != nil {
		t.Fatalf("take %d bytes: %v", free-leave, err)
	}
	return path
}
