package storage

import (
	"bytes"
	"strings"
	"testing"
)

func FuzzRecordKeysSortByKeyThenNewestFirst(f *testing.F) {
	f.Add("a", int64(2), int32(0), "a\x00", int64(3), int32(1))
	f.Add("a\x00\x01", int64(1), int32(0), "a\x00\xff", int64(1), int32(0))
	f.Add("", int64(0), int32(0), "\x00", int64(1<<62), int32(1<<30))
	f.Fuzz(func(t *testing.T, a string, ar int64, as int32, b string, br int64, bs int32) {
		ar, br, as, bs = ar&(1<<63-1), br&(1<<63-1), as&(1<<31-1), bs&(1<<31-1)
		ka, kb := AppendRecordKey(nil, a, ar, as), AppendRecordKey(nil, b, br, bs)
		want := strings.Compare(a, b)
		if want == 0 && (ar != br || as != bs) {
			want = 1
			if ar > br || ar == br && as > bs {
				want = -1
			}
		}
		if got := bytes.Compare(ka, kb); got != want {
			t.Fatalf("%q@%d.%d against %q@%d.%d: %d, want %d", a, ar, as, b, br, bs, got, want)
		}
		shared, rev, sub, ok := SplitRecordKey(ka)
		if !ok || rev != ar || sub != as {
			t.Fatalf("split %x into %d.%d %v", ka, rev, sub, ok)
		}
		user, ok := UserKey(shared, nil)
		if !ok || string(user) != a {
			t.Fatalf("user key %q, want %q", user, a)
		}
		if len(ka) != recordKeyLen(a) {
			t.Fatalf("length %d, want %d", recordKeyLen(a), len(ka))
		}
		if bytes.Compare(AppendRecordFrom(nil, a), ka) > 0 || bytes.Compare(AppendRecordPast(nil, a), ka) <= 0 {
			t.Fatalf("bounds of %q do not enclose it", a)
		}
		if a < b && bytes.Compare(AppendRecordPast(nil, a), AppendRecordFrom(nil, b)) > 0 {
			t.Fatalf("%q ends behind the start of %q", a, b)
		}
	})
}

func FuzzForeignKeysAreRefusedNotMisread(f *testing.F) {
	f.Add([]byte("k\x00\x02123456789012"))
	f.Add([]byte("r12345678901"))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if shared, rev, sub, ok := SplitRecordKey(b); ok {
			if user, ok := UserKey(shared, nil); ok {
				if again := AppendRecordKey(nil, string(user), rev, sub); !bytes.Equal(again, b) {
					t.Fatalf("%x reads as %q@%d.%d, which is %x", b, user, rev, sub, again)
				}
			}
		}
		if rev, sub, ok := ParseRevisionKey(b); ok && !bytes.Equal(AppendRevisionKey(nil, rev, sub), b) {
			t.Fatalf("%x reads as revision %d.%d", b, rev, sub)
		}
		if r, err := ParseRevision(b); err == nil {
			again := make([]byte, r.len())
			r.put(again)
			if r2, err := ParseRevision(again); err != nil || r2 != r {
				t.Fatalf("%+v becomes %+v %v", r, r2, err)
			}
		}
	})
}

func TestSmallTablesKeysRoundTrip(t *testing.T) {
	if id, ok := ParseLeaseKey(LeaseKey(nil, -5)); !ok || id != -5 {
		t.Fatal("lease key")
	}
	if id, ok := ParseMemberKey(MemberKey(nil, 1<<63)); !ok || id != 1<<63 {
		t.Fatal("member key")
	}
	for _, bad := range [][]byte{nil, []byte("l"), []byte("n12345678x")} {
		if _, ok := ParseLeaseKey(bad); ok {
			t.Fatalf("%q is not a lease", bad)
		}
		if _, ok := ParseMemberKey(bad); ok {
			t.Fatalf("%q is not a member", bad)
		}
	}
}
