package expiry

// deadlines is a binary heap of entries, the one that is due first in front. Every entry knows its place, so
// that a lease that ends long before its time leaves nothing behind.
type deadlines []*entry

// first returns the entry that is due first, nil when there is none.
func (d deadlines) first() *entry {
	if len(d) == 0 {
		return nil
	}
	return d[0]
}

// push adds an entry that is outside.
func (d *deadlines) push(e *entry) {
	e.place = len(*d)
	*d = append(*d, e)
	d.up(e.place)
}

// remove takes an entry out, if it is in.
func (d *deadlines) remove(e *entry) {
	i := e.place
	if i < 0 {
		return
	}
	last := len(*d) - 1
	d.swap(i, last)
	(*d)[last] = nil
	*d = (*d)[:last]
	e.place = -1
	if i < last {
		d.up(i)
		d.down(i)
	}
}

// later moves an entry whose due instant grew to its new place.
func (d deadlines) later(e *entry) { d.down(e.place) }

func (d deadlines) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if d[parent].due <= d[i].due {
			return
		}
		d.swap(i, parent)
		i = parent
	}
}

func (d deadlines) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(d) {
			return
		}
		if right := child + 1; right < len(d) && d[right].due < d[child].due {
			child = right
		}
		if d[i].due <= d[child].due {
			return
		}
		d.swap(i, child)
		i = child
	}
}

func (d deadlines) swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}
