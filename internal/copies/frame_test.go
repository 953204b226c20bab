package copies

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"

	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

func TestFramesAreReadAsTheyWereMade(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var p packer
	var stream []byte
	var want [][]byte
	var sent totals
	for i := range 50 {
		var raw []byte
		for range 1 + rng.IntN(20) {
			raw = appendRow(raw, fmt.Appendf(nil, "key %d", i), bytes.Repeat([]byte{byte(rng.IntN(256))}, rng.IntN(3000)))
		}
		sent.add(1, raw)
		want = append(want, raw)
		stream = append(stream, p.pack(raw)...)
	}
	stream = append(stream, p.last(sent)...)
	r := reader{limit: 1 << 20}
	from := bytes.NewReader(stream)
	for _, w := range want {
		raw, last, err := r.next(from)
		if err != nil || last != nil || !bytes.Equal(raw, w) {
			t.Fatalf("%d bytes, want %d; %v, %v", len(raw), len(w), last, err)
		}
	}
	_, last, err := r.next(from)
	if err != nil || last == nil || last.rows != sent.rows || last.bytes != sent.bytes || last.crc != sent.crc {
		t.Fatalf("%+v, want %+v; %v", last, sent, err)
	}
	if _, _, err := r.next(from); !errors.Is(err, errBroken) || !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

// hostile are frames that no server sends.
func hostile() map[string][]byte {
	var p packer
	rows := func(rows ...string) []byte {
		var raw []byte
		for _, r := range rows {
			raw = appendRow(raw, []byte(r), []byte("value"))
		}
		return bytes.Clone(p.pack(raw))
	}
	sealed := func(payload []byte, unpacked int) []byte {
		return seal(append(make([]byte, headBytes), payload...), unpacked)
	}
	return map[string][]byte{
		"a length without bytes":       {0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff},
		"an unpacked length too great": sealed(s2.Encode(nil, []byte("abc")), DefaultRowBytes+pieceBytes+1000),
		"two unpacked lengths":         sealed(s2.Encode(nil, []byte("abc")), 4),
		"what does not unpack":         sealed([]byte{5, 0xff, 0xff, 0xff}, 5),
		"a row that is cut off":        sealed(s2.Encode(nil, []byte{9, 'k'}), 2),
		"a key that is cut off":        sealed(s2.Encode(nil, []byte{1, 'k'}), 2),
		"an endless length":            sealed(s2.Encode(nil, bytes.Repeat([]byte{0xff}, 12)), 12),
		"keys that do not ascend":      rows("kb", "ka"),
		"a key twice":                  rows("kb", "kb"),
		"a table that is none":         rows("zz"),
		"another's identity":           rows("m" + storage.MetaCluster),
		"another's log":                rows("m" + storage.MetaLog),
		"a last frame too long":        sealed(make([]byte, lastBytes+1), 0),
		"the end at once":              bytes.Clone(p.last(totals{})),
		"an end with other totals":     append(rows("ka"), p.last(totals{rows: 1, bytes: 9, crc: 7})...),
		"an end with other rows":       append(rows("ka"), p.last(miscounted("ka"))...),
		"rows that are no state":       append(rows("ka"), p.last(counted("ka"))...),
		"the end of the connection":    rows("ka"),
	}
}

func counted(rows ...string) (t totals) {
	var raw []byte
	for _, r := range rows {
		raw = appendRow(raw, []byte(r), []byte("value"))
	}
	t.add(uint64(len(rows)), raw)
	return t
}

func miscounted(rows ...string) totals {
	t := counted(rows...)
	t.rows++
	return t
}

// TestAHostileSourceLeavesNothing serves frames that no server sends, and offers that are none.
func TestAHostileSourceLeavesNothing(t *testing.T) {
	good := map[string]string{
		headerCluster: fmt.Sprintf("%x", testCluster), headerID: "x", headerIndex: "9", headerTerm: "1", headerBytes: "100", headerDisk: "100",
		headerLevel: "1", headerStream: fmt.Sprint(streamVersion), headerFormat: fmt.Sprint(state.CopyFormat),
	}
	serve := func(body []byte, change map[string]string) error {
		d := newTarget()
		d.o.Least = 9
		_, err := d.fetch(t, listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for _, headers := range []map[string]string{good, change} {
				for k, v := range headers {
					w.Header().Set(k, v)
				}
			}
			_, _ = w.Write(body)
		})))
		d.mustBeEmpty(t)
		return err
	}
	for name, body := range hostile() {
		err := serve(body, nil)
		if strings.HasPrefix(name, "an end with other") && !errors.Is(err, errStrange) {
			t.Errorf("%s: %v", name, err)
		}
		if !errors.Is(err, errBroken) && !errors.Is(err, errStrange) && !errors.Is(err, state.ErrNoCopy) && !errors.Is(err, storage.ErrNotAscending) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for header, c := range map[string]struct{ value, want string }{
		headerID: {"", "it has no name"}, headerIndex: {"8", "its state goes to log entry 8, wanted is 9"}, headerTerm: {"x", "is no copy"},
		headerBytes: {"-1", "is no copy"}, headerDisk: {"18446744073709551615", "is no copy"},
		headerStream: {"2", "its copies have version 2"}, headerLevel: {"9999", "its cluster runs at level 9999"}, headerFormat: {"9", "its state has format 9"},
	} {
		if err := serve(nil, map[string]string{header: c.value}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", header, c.value, err, c.want)
		}
	}
}

// FuzzReader reads anything, with sums that fit and without.
func FuzzReader(f *testing.F) {
	for _, frame := range hostile() {
		f.Add(frame, true)
	}
	f.Add(new(packer).pack(appendRow(nil, []byte("key"), bytes.Repeat([]byte("v"), 300))), false)
	const limit = 1 << 16
	f.Fuzz(func(t *testing.T, b []byte, fit bool) {
		if fit && len(b) >= headBytes {
			binary.LittleEndian.PutUint32(b, uint32(len(b)-headBytes))
			binary.LittleEndian.PutUint32(b[4:], frameSum(b[:headBytes], b[headBytes:]))
		}
		r := reader{limit: limit}
		raw, last, err := r.next(bytes.NewReader(b))
		if len(raw) > limit || cap(r.packed) > max(2*len(b), readBytes) {
			t.Fatalf("%d bytes became %d, in %d", len(b), len(raw), cap(r.packed))
		}
		if err != nil || last != nil {
			return
		}
		var again []byte
		rows, err := eachRow(raw, func(key, value []byte) error {
			again = appendRow(again, key, value)
			return nil
		})
		if err == nil && (rows == 0 || len(again) > len(raw)) {
			t.Fatalf("%d rows of %d bytes, written again %d", rows, len(raw), len(again))
		}
	})
}
