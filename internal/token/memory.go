package token

import (
	"sync"
	"time"
)

// memoryShards is into how many parts a memory is cut, so that cores seldom meet at one lock. It is a power of two.
const memoryShards = 32

// memory is a bounded map. Each part of it has two generations: what is used moves into the young one; when
// that is full, or old enough, it becomes the old one, and what was in the old one, unused since, is forgotten.
type memory[K comparable, V any] struct {
	weigh  func(K, V) int
	wall   int           // of one generation of one part, in bytes
	period time.Duration // after which a generation is old enough; zero for never
	shards [memoryShards]shard[K, V]
}

type shard[K comparable, V any] struct {
	mu         sync.RWMutex
	young, old map[K]V
	weight     int       // of young
	since      time.Time // when young began
	_          [64]byte  // keeps the locks of two parts apart
}

// newMemory makes a memory of at most maxWeight bytes, as weigh counts them.
func newMemory[K comparable, V any](maxWeight int, period time.Duration, weigh func(K, V) int) *memory[K, V] {
	return &memory[K, V]{weigh: weigh, wall: maxWeight / memoryShards / 2, period: period}
}

// get returns what was remembered. Equal keys come with equal sums, and sums are spread evenly.
func (m *memory[K, V]) get(sum uint64, k K) (V, bool) {
	s := &m.shards[sum%memoryShards]
	s.mu.RLock()
	v, ok := s.young[k]
	stale := !ok && len(s.old) > 0
	s.mu.RUnlock()
	if !stale {
		return v, ok
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok = s.young[k]; ok {
		return v, ok
	}
	if v, ok = s.old[k]; ok {
		delete(s.old, k)
		m.add(s, k, v)
	}
	return v, ok
}

// put remembers.
func (m *memory[K, V]) put(sum uint64, k K, v V) {
	s := &m.shards[sum%memoryShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.old, k)
	if was, ok := s.young[k]; ok {
		s.weight -= m.weigh(k, was)
		delete(s.young, k)
	}
	m.add(s, k, v)
}

// add puts what is in neither generation into the young one. The part is locked.
func (m *memory[K, V]) add(s *shard[K, V], k K, v V) {
	w := m.weigh(k, v)
	if s.young == nil || s.weight+w > m.wall || m.period > 0 && time.Since(s.since) > m.period {
		s.old, s.young = s.young, make(map[K]V)
		s.weight, s.since = 0, time.Now()
	}
	s.young[k] = v
	s.weight += w
}

// size counts the entries.
func (m *memory[K, V]) size() int {
	n := 0
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		n += len(s.young) + len(s.old)
		s.mu.RUnlock()
	}
	return n
}
