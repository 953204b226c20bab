package copies

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ask sends a request as a member does, and returns the answer with its body unread.
func ask(t *testing.T, method, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(headerCluster, fmt.Sprintf("%x", testCluster))
	resp, err := new(http.Client).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// text is the answer's status and body.
func text(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, b))
}

func TestRequestsThatAreNoneAreRefused(t *testing.T) {
	s := newSource(t, 10)
	url := listen(t, s.Server) + Path
	for query, want := range map[string]string{
		"?min=x":          "400 min=x is no number",
		"?id=a&frame=-1":  "400 frame=-1 is no number",
		"?frame=7":        "400 frame=7 says that there was a copy before, and not which",
		"?id=a&frame=7":   `410 the copy "a" is not kept any more`,
		"?min=9999999999": fmt.Sprintf("503 this member has applied log entry %d, wanted is 9999999999", s.Applied().Index),
	} {
		resp := ask(t, http.MethodGet, url+query)
		if got := text(t, resp); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
		if again := resp.Header.Get("Retry-After"); (again != "") != strings.HasPrefix(want, "503") {
			t.Errorf("%s: Retry-After %q", query, again)
		}
	}
	if got := text(t, ask(t, http.MethodPost, url)); !strings.HasPrefix(got, "405 ") {
		t.Error(got)
	}
	resp, err := http.Get(url) //nolint:noctx // says no cluster, which is the point
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := text(t, resp); got != "412 cluster ID mismatch" || resp.Header.Get(headerCluster) != "c1" {
		t.Error(got, resp.Header)
	}
}

// first reads the first frame of an answer.
func first(t *testing.T, resp *http.Response) []byte {
	t.Helper()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(text(t, resp))
	}
	r := reader{limit: DefaultRowBytes}
	raw, _, err := r.next(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestFewCopiesAreKeptAndNotForLong asks for one more than are kept, with connections that nobody reads to the end.
func TestFewCopiesAreKeptAndNotForLong(t *testing.T) {
	s := newSource(t, 2000)
	url := listen(t, s.Server) + Path
	var ids []string
	var open []*http.Response
	for range maxKept {
		resp := ask(t, http.MethodGet, url)
		first(t, resp)
		ids, open = append(ids, resp.Header.Get(headerID)), append(open, resp)
	}
	full := fmt.Sprintf("503 this member hands out %d copies of its state already", maxKept)
	if got := text(t, ask(t, http.MethodGet, url)); got != full {
		t.Fatal(got)
	}
	// One is not wanted any more.
	if got := text(t, ask(t, http.MethodDelete, url+"?id="+ids[0])); got != "200" {
		t.Fatal(got)
	}
	if got := text(t, ask(t, http.MethodGet, url+"?id="+ids[0])); !strings.HasPrefix(got, "410") {
		t.Fatal(got)
	}
	resp := ask(t, http.MethodGet, url)
	first(t, resp)
	// The others have no connection any more. For a moment that does not make room.
	for _, resp := range append(open, resp) {
		_ = resp.Body.Close()
	}
	s.waitIdle(t)
	if got := text(t, ask(t, http.MethodGet, url)); got != full {
		t.Fatal(got)
	}
	now := time.Now()
	for _, c := range []struct {
		after time.Duration
		left  int
	}{{keptIdle - time.Second, maxKept}, {keptIdle + 10*time.Second, 0}} {
		left, err := s.expire(now.Add(c.after), keptIdle)
		if err != nil || s.kept() != c.left || left <= 0 || left > keptIdle {
			t.Fatalf("after %v %d copies are kept, want %d; to look again after %v: %v", c.after, s.kept(), c.left, left, err)
		}
	}
}

// TestTheEndOfEachCopyIsTold fetches a copy, over a connection that breaks twice, gives one up, and asks for one that a
// later moment is wanted of.
func TestTheEndOfEachCopyIsTold(t *testing.T) {
	s := newSource(t, 2000)
	cut := &broken{Handler: s.Server, at: func(answer int) int {
		if answer < 2 {
			return 9000
		}
		return -1
	}}
	if _, err := newTarget().fetch(t, listen(t, cut)); err != nil {
		t.Fatal(err)
	}
	if got := s.told.take(); got != "2:true" || cut.count() < 3 {
		t.Errorf("told of a copy that arrived over %d connections: %q", cut.count(), got)
	}
	url := listen(t, s.Server) + Path
	resp := ask(t, http.MethodGet, url)
	first(t, resp)
	_ = resp.Body.Close()
	s.waitIdle(t)
	if _, err := s.expire(time.Now().Add(2*keptIdle), keptIdle); err != nil {
		t.Fatal(err)
	}
	if got := s.told.take(); got != "0:false" {
		t.Errorf("told of a copy that somebody who says no name gave up: %q", got)
	}
	if got := text(t, ask(t, http.MethodGet, url+"?min=1000000")); !strings.HasPrefix(got, "503") {
		t.Fatal(got)
	}
	if got := s.told.take(); got != "" {
		t.Errorf("told of a copy that there was none of: %q", got)
	}
}

// waitIdle waits until nobody sends.
func (s *Server) waitIdle(t *testing.T) {
	t.Helper()
	for busy := true; busy && t.Context().Err() == nil; {
		runtime.Gosched()
		busy = false
		s.mu.Lock()
		for _, v := range s.views {
			busy = busy || v.stop != nil
		}
		s.mu.Unlock()
	}
}

// TestIdleCopiesYield fills all places with copies that nobody has fetched of for some seconds.
func TestIdleCopiesYield(t *testing.T) {
	s := newSource(t, 10)
	for range maxKept {
		v, err := s.begin(0, 0, func() {})
		if err == nil {
			err = s.leave(v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.begin(0, 0, func() {}); err == nil {
		t.Fatal("one copy too many")
	}
	s.mu.Lock()
	for _, v := range s.views {
		v.idle = v.idle.Add(-yieldIdle)
		break
	}
	s.mu.Unlock()
	v, err := s.begin(0, 0, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.leave(v); err != nil || s.kept() != maxKept {
		t.Fatalf("%d copies are kept: %v", s.kept(), err)
	}
}

// stuck is an answer that nobody reads: from the second frame on writing waits for its deadline.
type stuck struct {
	*httptest.ResponseRecorder
	frames   int
	waits    chan struct{} // closed when somebody waits
	released chan struct{} // closed when the deadline has passed
}

func (w *stuck) SetWriteDeadline(t time.Time) error {
	if !t.IsZero() && time.Until(t) <= 0 {
		close(w.released)
	}
	return nil
}

func (w *stuck) Write(b []byte) (int, error) {
	if w.frames++; w.frames == 1 {
		return w.ResponseRecorder.Write(b)
	}
	close(w.waits)
	<-w.released
	return 0, os.ErrDeadlineExceeded
}

// TestANewConnectionTakesTheCopyFromAnOldOne goes on with a copy whose sender is stuck in a connection that is dead.
func TestANewConnectionTakesTheCopyFromAnOldOne(t *testing.T) {
	s := newSource(t, 300)
	old := &stuck{ResponseRecorder: httptest.NewRecorder(), waits: make(chan struct{}), released: make(chan struct{})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r := httptest.NewRequest(http.MethodGet, Path, nil)
		r.Header.Set(headerCluster, s.cluster)
		s.ServeHTTP(old, r)
	}()
	<-old.waits
	url := listen(t, s.Server) + Path + "?id=" + old.Header().Get(headerID)
	again := ask(t, http.MethodGet, url+"&frame=0")
	raw := first(t, again)
	<-ended
	r := reader{limit: DefaultRowBytes}
	if want, _, err := r.next(old.Body); err != nil || !bytes.Equal(raw, want) {
		t.Fatalf("the first frame is another one the second time: %v", err)
	}
	if _, last, err := r.next(old.Body); err == nil {
		t.Fatalf("the old connection brought more: %+v", last)
	}
}

// TestPlacesAreForgotten goes back further than is kept.
func TestPlacesAreForgotten(t *testing.T) {
	s := newSource(t, 3000)
	v, err := s.begin(0, 0, func() {})
	if err != nil {
		t.Fatal(err)
	}
	sums := map[uint64]uint32{}
	for last := false; !last; {
		if _, last, err = v.next(300); err != nil {
			t.Fatal(err)
		}
		sums[v.at.frames] = v.at.crc
	}
	end := v.at
	if end.frames < keptMarks+100 || len(v.marks) > keptMarks {
		t.Fatalf("%d frames, %d marks", end.frames, len(v.marks))
	}
	if v.goTo(end.frames-keptMarks-1) || v.goTo(end.frames+1) {
		t.Error("a place that nobody knows was found")
	}
	for _, back := range []uint64{0, 1, 5, keptMarks - 10} {
		if err := v.rest(); err != nil {
			t.Fatal(err)
		}
		at := end.frames - back
		if !v.goTo(at) || v.at.crc != sums[at] {
			t.Fatalf("frame %d of %d is not found", at, end.frames)
		}
	}
	for last := false; !last; {
		if _, last, err = v.next(300); err != nil {
			t.Fatal(err)
		}
	}
	if v.at.totals != end.totals {
		t.Errorf("the second time it is %+v, it was %+v", v.at.totals, end.totals)
	}
	// Long keys take the places of others.
	v.marks, v.markSize = nil, 0
	for i := range 20 {
		v.remember(mark{totals{frames: end.frames + 1 + uint64(i)}, make([]byte, keptMarkBytes/4)})
	}
	if len(v.marks) > 5 || v.markSize > keptMarkBytes {
		t.Errorf("%d marks of %d bytes", len(v.marks), v.markSize)
	}
	if !v.goTo(0) || v.markSize != 0 {
		t.Error("the beginning is not found")
	}
	if err := s.leave(v); err != nil {
		t.Fatal(err)
	}
}

// TestTheEndOfRunIsTheEndOfAllCopies ends it under two connections.
func TestTheEndOfRunIsTheEndOfAllCopies(t *testing.T) {
	m := openMachine(t, vfs.NewMem(), "source")
	m.put(t, 0, 3000, 3000)
	s := NewServer(m.Machine, Options{Cluster: testCluster})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	l := httptest.NewServer(s)
	defer l.Close()
	a, b := ask(t, http.MethodGet, l.URL+Path), ask(t, http.MethodGet, l.URL+Path)
	first(t, a)
	first(t, b)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// Nothing of the storage is in use any more, or it would not close.
	if err := m.engine.Close(); err != nil {
		t.Fatal(err)
	}
	if got := text(t, ask(t, http.MethodGet, l.URL+Path)); got != "503 this member is stopping" {
		t.Error(got)
	}
}

func TestRunLetsGoOfWhatNobodyFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := openMachine(t, vfs.NewMem(), "source")
		s := NewServer(m.Machine, Options{Cluster: testCluster})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		for range 2 {
			v, err := s.begin(0, 0, func() {})
			if err == nil {
				err = s.leave(v)
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(keptIdle / 3)
		}
		synctest.Wait()
		if n := s.kept(); n != 2 {
			t.Errorf("%d copies are kept", n)
		}
		time.Sleep(keptIdle/3 + time.Second)
		if n := s.kept(); n != 1 {
			t.Errorf("%d copies are kept, one was given up", n)
		}
		time.Sleep(keptIdle)
		if n := s.kept(); n != 0 {
			t.Errorf("%d copies are kept that nobody fetches", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := m.engine.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTheRateIsForAllTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace{rate: 1000}
		if n := p.piece(); n != minPiece {
			t.Errorf("a piece of %d bytes", n)
		}
		began := time.Now()
		done := make(chan error)
		for range 2 {
			go func() {
				var err error
				s := sender{pace: &p, began: began}
				for range 10 {
					if err == nil {
						err = s.keep(t.Context(), minPiece, 500)
					}
				}
				done <- err
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("10,000 bytes took %v", took)
		}
	})
}

// TestASenderRests looks how long, in a world where nothing else takes time.
func TestASenderRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sender{pace: new(pace), began: time.Now()}
		keep := func(bytes int, want time.Duration) {
			t.Helper()
			began := time.Now()
			if err := s.keep(t.Context(), bytes, bytes); err != nil || time.Since(began) != want {
				t.Errorf("a rest of %v after %d bytes, want %v: %v", time.Since(began), bytes, want, err)
			}
		}
		const usual = time.Second * restBytes / restRate
		keep(restBytes/2, 0)
		keep(restBytes/2, usual)
		time.Sleep(time.Second) // the disk or the network was slow
		keep(restBytes, minRest)
		s.late = 750 * time.Microsecond // the processor was somebody else's
		keep(restBytes, courtesy*750*time.Microsecond)
		if s.late != 375*time.Microsecond {
			t.Errorf("it remembers %v", s.late)
		}
		s.late = time.Minute
		keep(restBytes, maxCourtesy)
	})
}
