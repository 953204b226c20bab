package token

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestAMemoryIsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	const entries = 4000
	m := newMemory(entries*10, 0, func(int, int) int { return 10 })
	m.put(0, -1, 7)
	for i := range 100 * entries {
		m.put(uint64(i), i, i)
		if i%100 == 0 {
			if v, ok := m.get(0, -1); !ok || v != 7 {
				t.Fatalf("after %d others, what is used is forgotten", i)
			}
		}
		if i%entries == 0 && m.size() > entries+memoryShards {
			t.Fatalf("%d entries, the wall is %d", m.size(), entries)
		}
	}
	if _, ok := m.get(0, 0); ok {
		t.Error("what was never used again is still there")
	}
	last := 100*entries - 1
	if v, ok := m.get(uint64(last), last); !ok || v != last {
		t.Error("the newest is not there")
	}
}

func TestPuttingAgainReplaces(t *testing.T) {
	m := newMemory(1<<20, 0, func(_ int, v int) int { return v })
	for i := range 1000 {
		m.put(5, 1, 100+i)
	}
	if v, ok := m.get(5, 1); !ok || v != 1099 || m.size() != 1 || m.shards[5].weight != 1099 {
		t.Errorf("%d, %v, %d entries, %d bytes", v, ok, m.size(), m.shards[5].weight)
	}
}

func TestAMemoryForgetsWhatIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(1<<20, time.Minute, func(int, int) int { return 1 })
		m.put(0, 1, 1)
		for i := range 3 {
			time.Sleep(time.Minute + 1)
			m.put(0, 100+i, 0)
		}
		if _, ok := m.get(0, 1); ok {
			t.Error("an entry outlived two generations unused")
		}
		if m.size() != 2 {
			t.Errorf("%d entries are left, want the last two", m.size())
		}
	})
}
