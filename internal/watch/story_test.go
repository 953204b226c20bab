package watch

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/keelson-db/keelson/internal/mvcc"
)

// TestStories plays testdata/*.txt. Nothing happens on its own in them: the hub follows history at "pump"
// and a client receives at "next".
//
//	hub [events=N] [bytes=N]       begin, with the bounds of a stream's queue
//	stream s                       open a stream
//	put k=v -k ...                 each in a revision of its own, in one group
//	txn k=v -k ...                 all in one revision
//	compact N
//	create s [key=] [end=] [start=] [id=] [noput] [nodelete]   ("\0" and "" are written \0 and empty)
//	cancel s id=N | progress s | close s
//	pump                           the hub distributes what is new
//	next s [max=N]                 the client receives what there is
//	stats
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t, mvcc.Options{})
		defer w.close(t)
		st := &story{world: w, streams: map[string]*Stream{}}
		datadriven.RunTest(t, path, st.run)
	})
}

type story struct {
	*world
	hub     *Hub
	streams map[string]*Stream
}

func (st *story) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "hub":
		st.hub = New(st.store, Options{StreamEvents: intArg(t, d, "events"), StreamBytes: int64(intArg(t, d, "bytes"))})
	case "put":
		st.put(t, words(d)...)
	case "txn":
		st.txn(t, words(d)...)
	case "compact":
		n, err := strconv.Atoi(d.CmdArgs[0].Key)
		if err != nil {
			t.Fatal(err)
		}
		st.compact(t, mvcc.Rev(n))
	case "pump":
		pumpAll(t, st.hub)
	case "stats":
		return fmt.Sprintf("%+v\n", st.hub.Stats())
	case "stream":
		st.streams[d.CmdArgs[0].Key] = st.hub.NewStream(StreamOptions{})
	default:
		return st.client(t, d, st.streams[d.CmdArgs[0].Key])
	}
	return ""
}

// client runs the commands of one stream.
func (st *story) client(t *testing.T, d *datadriven.TestData, s *Stream) string {
	switch d.Cmd {
	case "create":
		s.Create(Create{
			ID: int64(intArg(t, d, "id")), Start: mvcc.Rev(intArg(t, d, "start")),
			Key: bytesArg(t, d, "key"), End: bytesArg(t, d, "end"),
			NoPut: d.HasArg("noput"), NoDelete: d.HasArg("nodelete"),
		})
	case "cancel":
		s.Cancel(int64(intArg(t, d, "id")))
	case "progress":
		s.RequestProgress()
	case "close":
		s.Close()
		if _, err := s.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Fatalf("after Close, Next says %v", err)
		}
	case "next":
		limit := intArg(t, d, "max")
		if limit == 0 {
			limit = math.MaxInt
		}
		var b strings.Builder
		drain(t, s, limit, func(r *Response) { fmt.Fprintln(&b, show(r)) })
		return b.String()
	default:
		t.Fatalf("unknown command %q", d.Cmd)
	}
	return ""
}

// words are the arguments as they were written; the parser has split them at the equals sign.
func words(d *datadriven.TestData) []string {
	var all []string
	for _, a := range d.CmdArgs {
		all = append(all, a.String())
	}
	return all
}

func intArg(t *testing.T, d *datadriven.TestData, name string) (n int) {
	t.Helper()
	if d.HasArg(name) {
		d.ScanArgs(t, name, &n)
	}
	return n
}

func bytesArg(t *testing.T, d *datadriven.TestData, name string) []byte {
	t.Helper()
	if !d.HasArg(name) {
		return nil
	}
	var v string
	d.ScanArgs(t, name, &v)
	return []byte(strings.ReplaceAll(v, `\0`, "\x00"))
}
