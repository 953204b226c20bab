package etcdfile

import (
	"encoding/binary"
	"hash/fnv"
)

const (
	// pageSize is the size of a page in bytes.
	pageSize = 4096
	// headerSize is the size of a page's header: id (8), kind (2), rows (2), pages that it goes on into (4).
	headerSize = 16
	// elementSize is what a row takes in a page beside its key and value. In a leaf: flags (4), where the key is
	// (4), its length (4), length of the value behind it (4). In a branch: where the key is (4), its length (4),
	// page of the child (8).
	elementSize = 16
)

// Kinds of a page.
const (
	kindBranch   = 0x01
	kindLeaf     = 0x02
	kindMeta     = 0x04
	kindFreelist = 0x10
)

// bucketFlag marks a row of a leaf whose value is the root of a bucket: page (8), sequence (8).
const bucketFlag = 0x01

// What a meta says of itself.
const (
	magic         = 0xed0cdaed
	formatVersion = 2
)

// row is one row of a page. In a walk over lengths alone there are no bytes behind them.
type row struct {
	key, value       []byte
	keyLen, valueLen int
	child            uint64 // in a branch
	bucket           bool   // in a leaf
}

// page collects rows until they are written.
type page struct {
	kind uint16
	rows []row
	used int    // bytes, with the header
	data []byte // keys and values, copied
}

func (p *page) reset() {
	p.rows, p.data, p.used = p.rows[:0], p.data[:0], headerSize
}

// fits reports whether a page takes another row. The first one is always taken, and so is the second one of a
// branch, because a branch with one child leads nowhere.
func (p *page) fits(r row) bool {
	least := 1
	if p.kind == kindBranch {
		least = 2
	}
	return len(p.rows) < least || p.used+elementSize+r.keyLen+r.valueLen <= pageSize
}

// add puts a row behind the others and copies its bytes.
func (p *page) add(r row) {
	p.used += elementSize + r.keyLen + r.valueLen
	at := len(p.data)
	p.data = append(append(p.data, r.key...), r.value...)
	r.key = p.data[at : at+len(r.key)]
	r.value = nil
	p.rows = append(p.rows, r)
}

// pages is how many pages the rows take.
func (p *page) pages() uint64 { return uint64(p.used+pageSize-1) / pageSize }

// appendTo appends the page as it stands in the file.
func (p *page) appendTo(dst []byte, id uint64) []byte {
	start := len(dst)
	dst = appendHeader(dst, id, p.kind, len(p.rows), p.pages())
	at := elementSize * len(p.rows) // where the key is, counted from its element
	for _, r := range p.rows {
		if p.kind == kindBranch {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(at))
			dst = binary.LittleEndian.AppendUint32(dst, uint32(r.keyLen))
			dst = binary.LittleEndian.AppendUint64(dst, r.child)
		} else {
			flags := uint32(0)
			if r.bucket {
				flags = bucketFlag
			}
			dst = binary.LittleEndian.AppendUint32(dst, flags)
			dst = binary.LittleEndian.AppendUint32(dst, uint32(at))
			dst = binary.LittleEndian.AppendUint32(dst, uint32(r.keyLen))
			dst = binary.LittleEndian.AppendUint32(dst, uint32(r.valueLen))
		}
		at += r.keyLen + r.valueLen - elementSize
	}
	dst = append(dst, p.data...)
	return pad(dst, start)
}

func appendHeader(dst []byte, id uint64, kind uint16, rows int, pages uint64) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, id)
	dst = binary.LittleEndian.AppendUint16(dst, kind)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(rows))
	return binary.LittleEndian.AppendUint32(dst, uint32(pages-1))
}

// pad fills what was appended since start up to whole pages.
func pad(dst []byte, start int) []byte {
	if over := (len(dst) - start) % pageSize; over > 0 {
		dst = append(dst, make([]byte, pageSize-over)...)
	}
	return dst
}

// appendMeta appends a meta page: magic (4), version (4), page size (4), flags (4), page (8) and sequence (8) of
// the root bucket, page of the free list (8), number of pages (8), transaction (8), FNV-1a of all that (8).
func appendMeta(dst []byte, id, root, pages uint64) []byte {
	start := len(dst)
	dst = appendHeader(dst, id, kindMeta, 0, 1)
	dst = binary.LittleEndian.AppendUint32(dst, magic)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, pageSize)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, root)
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	dst = binary.LittleEndian.AppendUint64(dst, freelistPage)
	dst = binary.LittleEndian.AppendUint64(dst, pages)
	dst = binary.LittleEndian.AppendUint64(dst, id)
	sum := fnv.New64a()
	_, _ = sum.Write(dst[start+headerSize:])
	dst = binary.LittleEndian.AppendUint64(dst, sum.Sum64())
	return pad(dst, start)
}
