package auth

import (
	"iter"
	"maps"
	"slices"
)

// maxRecent bounds what is copied for one group of changes, in names.
const maxRecent = 1024

// layers maps names to what never changes. Most of it lies in a base that many views share; what was added,
// replaced or removed since lies above, so that a new view costs a copy of that and not of everything.
type layers[T any] struct {
	base   map[string]*T
	recent map[string]*T // nil means removed
}

func (l *layers[T]) get(name string) (*T, bool) {
	if len(l.recent) > 0 {
		if v, ok := l.recent[name]; ok {
			return v, v != nil
		}
	}
	v, ok := l.base[name]
	return v, ok
}

// set puts, or with nil removes, in layers that no view shares: what fork returned.
func (l *layers[T]) set(name string, v *T) { l.recent[name] = v }

// fork returns layers that can be changed without anybody seeing it in l.
func (l *layers[T]) fork() layers[T] {
	if len(l.recent) < maxRecent {
		recent := maps.Clone(l.recent)
		if recent == nil {
			recent = make(map[string]*T)
		}
		return layers[T]{base: l.base, recent: recent}
	}
	base := make(map[string]*T, len(l.base)+len(l.recent))
	maps.Insert(base, l.all())
	return layers[T]{base: base, recent: make(map[string]*T)}
}

// all walks what is there, in no order.
func (l *layers[T]) all() iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		for name, v := range l.base {
			if _, ok := l.recent[name]; !ok && !yield(name, v) {
				return
			}
		}
		for name, v := range l.recent {
			if v != nil && !yield(name, v) {
				return
			}
		}
	}
}

func (l *layers[T]) names() []string {
	names := make([]string, 0, len(l.base)+len(l.recent))
	for name := range l.all() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
