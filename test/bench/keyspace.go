package main

import "fmt"

// keyspace is a run of numbered keys under one prefix, all keySize bytes long and ordered by number, so
// that the client knows every key and every page boundary without reading them back.
type keyspace struct {
	prefix string
	size   int
	// value is the length of the values in bytes, a multiple of eight; zero means valueSize.
	value int
}

// valueBytes is the length of the values in bytes.
func (k keyspace) valueBytes() int {
	if k.value > 0 {
		return k.value
	}
	return valueSize
}

// append writes the key with the given number to dst.
func (k keyspace) append(dst []byte, number uint64) []byte {
	dst = append(dst, k.prefix...)
	digits := keySize - len(k.prefix)
	start := len(dst)
	for range digits {
		dst = append(dst, '0')
	}
	for i := start + digits - 1; number > 0 && i >= start; i-- {
		dst[i] = byte('0' + number%10)
		number /= 10
	}
	return dst
}

// key returns the key with the given number.
func (k keyspace) key(number int) []byte {
	return k.append(make([]byte, 0, keySize), uint64(number))
}

// end is the first key behind all keys of the keyspace.
func (k keyspace) end() []byte {
	end := []byte(k.prefix)
	end[len(end)-1]++
	return end
}

// scatterStep is a prime larger than any keyspace here; stepping by it visits every number once, far from
// the one before, so a loaded store has not been filled in key order.
const scatterStep = 2_654_435_761

// scattered returns the n-th number of a fixed order that visits all numbers of the keyspace once.
func (k keyspace) scattered(n int) int {
	return int(uint64(n) * scatterStep % uint64(k.size))
}

// String names the keyspace in errors.
func (k keyspace) String() string { return fmt.Sprintf("%d keys under %q", k.size, k.prefix) }
