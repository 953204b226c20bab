package harness

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// mount shows the directory beneath at d.Dir, through the disk's faults.
func (d *Disk) mount(t testing.TB, beneath string) error {
	t.Helper()
	root := &fs.LoopbackRoot{Path: beneath}
	top := &diskNode{LoopbackNode: &fs.LoopbackNode{RootData: root}, disk: d}
	root.RootNode = top
	server, err := fs.Mount(d.Dir, top, &fs.Options{MountOptions: fuse.MountOptions{
		// The helper program of FUSE is not on every machine; root can mount without it.
		DirectMountStrict: true, FsName: "keelson-test", Name: "keelson-test", MaxWrite: 1 << 20,
	}})
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	t.Cleanup(func() {
		d.Resume()
		d.DelaySync(0)
		// The kernel lets go of the files of a server that was just killed in its own time.
		Eventually(t, SettleLimit, "the disk is unmounted", server.Unmount)
	})
	return nil
}

// diskNode is a file or directory of the disk; what it does not do itself goes to the directory beneath.
type diskNode struct {
	*fs.LoopbackNode
	disk *Disk
}

// WrapChild makes what is found in a directory of the disk part of the disk.
func (n *diskNode) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &diskNode{LoopbackNode: ops.(*fs.LoopbackNode), disk: n.disk}
}

// Fsync serves fsync and fdatasync, of files and of directories.
func (n *diskNode) Fsync(ctx context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	n.disk.sync()
	if s, ok := f.(fs.FileFsyncer); ok {
		return s.Fsync(ctx, flags)
	}
	if s, ok := f.(fs.FileFsyncdirer); ok {
		return s.Fsyncdir(ctx, flags)
	}
	return 0
}

// Open hides that files could be passed through in the kernel, because then a full disk would not be asked.
func (n *diskNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	f, out, errno := n.LoopbackNode.Open(ctx, flags)
	return hide(f), out, errno
}

// Create is Open for a file that is not there yet.
func (n *diskNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.disk.space(); errno != 0 {
		return nil, nil, 0, errno
	}
	inode, f, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, hide(f), fuseFlags, errno
}

// Mkdir needs space for the new directory.
func (n *diskNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.disk.space(); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

// Write fails on a full disk, also where the file has the space already: a file system that copies on write does so.
func (n *diskNode) Write(ctx context.Context, f fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if errno := n.disk.space(); errno != 0 {
		return 0, errno
	}
	return f.(fs.FileWriter).Write(ctx, data, off)
}

// Allocate reserves space.
func (n *diskNode) Allocate(ctx context.Context, f fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	if errno := n.disk.space(); errno != 0 {
		return errno
	}
	return f.(fs.FileAllocater).Allocate(ctx, off, size, mode)
}

// diskFile is an open file without what it knows about being passed through.
type diskFile struct{ file }

type file interface {
	fs.FileReader
	fs.FileWriter
	fs.FileFsyncer
	fs.FileFlusher
	fs.FileReleaser
	fs.FileAllocater
	fs.FileLseeker
	fs.FileGetattrer
	fs.FileSetattrer
}

func hide(f fs.FileHandle) fs.FileHandle {
	if open, ok := f.(file); ok {
		return diskFile{open}
	}
	return f
}
