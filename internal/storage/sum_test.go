package storage

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

func sumOf(b []byte) (s Sum) {
	s.Write(b)
	return s
}

func TestJoinedSumsAreTheSumOfTheWhole(t *testing.T) {
	src := rand.NewChaCha8([32]byte{3})
	rng := rand.New(src)
	j := NewJoiner()
	whole := make([]byte, 6<<20)
	_, _ = src.Read(whole)
	lengths := []int{0, 1, 2, 1023, 1024, 1025, 4096, 1 << 20, 1<<20 + 1, 3<<20 - 7}
	for range 300 {
		lengths = append(lengths, rng.IntN(1<<rng.IntN(20)))
	}
	for _, n := range lengths {
		at := rng.IntN(len(whole) - n)
		first := rng.IntN(at + 1)
		s := sumOf(whole[first:at])
		j.Join(&s, sumOf(whole[at:at+n]))
		want := Sum{Len: uint64(at + n - first), CRC: crc32.Checksum(whole[first:at+n], castagnoli)}
		if s != want {
			t.Fatalf("%d bytes and %d bytes: %+v, want %+v", at-first, n, s, want)
		}
	}
}

func BenchmarkJoin(b *testing.B) {
	j := NewJoiner()
	for _, c := range []struct {
		name string
		n    uint64
	}{{"100", 100}, {"300", 300}, {"1000", 1000}, {"5000", 5000}, {"1000000", 1_000_000}} {
		b.Run(c.name, func(b *testing.B) {
			s := Sum{CRC: 1}
			for b.Loop() {
				j.Join(&s, Sum{Len: c.n, CRC: 7})
			}
		})
	}
	b.Run("tables", func(b *testing.B) {
		for b.Loop() {
			NewJoiner()
		}
	})
}
