package etcdfile

import (
	"fmt"
	"io"
)

// maxLevels bounds the height of a tree: even with two children a branch, it takes more rows than there are.
const maxLevels = 64

// tree builds one bucket, bottom up. Without a writer it only counts pages.
type tree struct {
	out    io.Writer
	next   uint64 // page that is written next
	levels []*page
	buf    []byte
}

// add puts a row into the last leaf.
func (t *tree) add(r row) error {
	if len(t.levels) == 0 {
		t.grow()
	}
	return t.addTo(0, r)
}

// grow puts a level on top.
func (t *tree) grow() {
	p := &page{kind: kindBranch}
	if len(t.levels) == 0 {
		p.kind = kindLeaf
	}
	p.reset()
	t.levels = append(t.levels, p)
}

func (t *tree) addTo(level int, r row) error {
	if !t.levels[level].fits(r) {
		if err := t.flush(level); err != nil {
			return err
		}
	}
	t.levels[level].add(r)
	return nil
}

// flush writes the page of a level and makes it a child of the level above.
func (t *tree) flush(level int) error {
	if level+1 == len(t.levels) {
		if level+1 == maxLevels {
			return fmt.Errorf("write a database file: it has more than %d levels", maxLevels)
		}
		t.grow()
	}
	p := t.levels[level]
	first := p.rows[0]
	id, err := t.write(p)
	if err != nil {
		return err
	}
	err = t.addTo(level+1, row{key: first.key, keyLen: first.keyLen, child: id})
	p.reset()
	return err
}

// finish writes what is left and returns the page of the root.
func (t *tree) finish() (root uint64, err error) {
	if len(t.levels) == 0 {
		t.grow()
	}
	for level := 0; level+1 < len(t.levels); level++ {
		if err := t.flush(level); err != nil {
			return 0, err
		}
	}
	return t.write(t.levels[len(t.levels)-1])
}

func (t *tree) write(p *page) (id uint64, err error) {
	id = t.next
	t.next += p.pages()
	if t.out == nil {
		return id, nil
	}
	t.buf = p.appendTo(t.buf[:0], id)
	if _, err := t.out.Write(t.buf); err != nil {
		return 0, fmt.Errorf("write a database file: %w", err)
	}
	return id, nil
}
