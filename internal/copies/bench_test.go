package copies

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/storage"
)

// BenchmarkACopy fetches copies over loopback, from disk to disk, with both ends on the same processors.
func BenchmarkACopy(b *testing.B) {
	for _, c := range []struct{ keys, value int }{{1_000_000, 64}, {100_000, 4 << 10}} {
		b.Run(fmt.Sprintf("%d keys of %d bytes", c.keys, c.value), func(b *testing.B) {
			top := b.TempDir()
			m := openMachine(b, vfs.Default, filepath.Join(top, "source"))
			m.put(b, 0, c.keys, c.value)
			if err := m.engine.Flush(); err != nil {
				b.Fatal(err)
			}
			s := NewServer(m.Machine, Options{Cluster: testCluster})
			url := listen(b, s)
			dir := filepath.Join(top, "target", "state")
			if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
				b.Fatal(err)
			}
			o := FetchOptions{FS: vfs.Default, Dir: dir, Cluster: testCluster, Local: testTarget, Log: testLog, Progress: new(Progress)}
			for b.Loop() {
				if _, err := Fetch(b.Context(), new(http.Client), []string{url}, o); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(o.Progress.Done.Load())
			}
			if _, err := storage.Adopt(vfs.Default, dir); err != nil {
				b.Fatal(err)
			}
		})
	}
}
