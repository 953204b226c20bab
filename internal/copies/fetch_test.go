package copies

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

func TestACopyIsItsSource(t *testing.T) {
	s := newSource(t, 1000)
	s.piece = pieceBytes
	d := newTarget()
	d.o.Least = s.Applied().Index
	p, err := d.fetch(t, listen(t, s.Server))
	if err != nil {
		t.Fatal(err)
	}
	if done, total := d.o.Progress.Done.Load(), d.o.Progress.Total.Load(); done < 100_000 || total < done || total > 2*done {
		t.Errorf("%d bytes of about %d", done, total)
	}
	d.mustBeCopy(t, s.machine, p)
	if n := s.kept(); n != 0 {
		t.Errorf("%d copies are kept for nobody", n)
	}
}

// kept is how many copies the server keeps.
func (s *Server) kept() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.views)
}

// TestABrokenConnectionIsGoneOnFrom breaks every connection, the first within the first frame, each further one somewhere
// within the frame behind the last that came through.
func TestABrokenConnectionIsGoneOnFrom(t *testing.T) {
	s := newSource(t, 300)
	rng := rand.New(rand.NewPCG(1, 1))
	d := newTarget()
	const most = 200 // answers, far more than there are frames; the rest come whole
	b := &broken{Handler: s.Server, at: func(n int) int {
		if n > most {
			return -1
		}
		if n%2 == 0 {
			return rng.IntN(headBytes + 600) // within the first frame
		}
		return 2100 + rng.IntN(20) // somewhere behind the first frame
	}}
	p, err := d.fetch(t, listen(t, b))
	if err != nil {
		t.Fatal(err)
	}
	if b.count() < 20 || b.count() > most {
		t.Errorf("%d connections", b.count())
	}
	d.mustBeCopy(t, s.machine, p)
}

// TestEveryByteThatIsDamagedIsNoticed flips a byte in each answer, each time another one.
func TestEveryByteThatIsDamagedIsNoticed(t *testing.T) {
	s := newSource(t, 300)
	d := newTarget()
	var damaged atomic.Int64
	b := &broken{Handler: s.Server, spoil: func(answer, offset int, p []byte) {
		// Each answer but the first begins with a whole frame, so that there is progress.
		if at := answer * 7 % 900; answer%2 == 0 && offset == 0 && at < len(p) {
			p[at] ^= 1 << (answer % 8)
			damaged.Add(1)
		}
		if answer%2 == 1 && offset > 0 {
			p[0] ^= 1
			damaged.Add(1)
		}
	}}
	p, err := d.fetch(t, listen(t, b))
	if err != nil {
		t.Fatal(err)
	}
	if damaged.Load() < 20 {
		t.Errorf("only %d frames were damaged", damaged.Load())
	}
	d.mustBeCopy(t, s.machine, p)
}

func TestASourceThatNeverBringsAFrameIsLeftForAnother(t *testing.T) {
	s, other := newSource(t, 300), newSource(t, 400)
	d := newTarget()
	always := &broken{Handler: s.Server, spoil: func(n, offset int, p []byte) {
		if n > 0 || offset > 5000 {
			p[len(p)-1] ^= 1
		}
	}}
	p, err := d.fetch(t, listen(t, always), listen(t, other.Server))
	if err != nil {
		t.Fatal(err)
	}
	if n := always.count(); n != tries {
		t.Errorf("%d connections to a source that is no use, want %d", n, tries)
	}
	d.mustBeCopy(t, other.machine, p)

	p, err = d.fetch(t, listen(t, always))
	if !errors.Is(err, errBroken) {
		t.Fatalf("%+v, %v", p, err)
	}
	if ok, err := storage.Settle(d.fs, testDir); ok || err != nil {
		t.Fatalf("a copy that did not arrive waits: %v", err)
	}
}

// TestASourceThatDoesNotAnswerIsLeftForAnother asks one that takes connections and says nothing.
func TestASourceThatDoesNotAnswerIsLeftForAnother(t *testing.T) {
	s := newSource(t, 300)
	var asked atomic.Int64
	mute := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-r.Context().Done()
	})
	d := newTarget()
	d.o.answerLimit = time.Second
	p, err := d.fetch(t, listen(t, mute), listen(t, s.Server))
	if err != nil || asked.Load() != 1 {
		t.Fatalf("asked %d times: %v", asked.Load(), err)
	}
	d.mustBeCopy(t, s.machine, p)
}

// TestASourceThatDiesIsLeftForAnother ends the first source in the middle of its copy.
func TestASourceThatDiesIsLeftForAnother(t *testing.T) {
	first, second := newSource(t, 300), newSource(t, 500)
	d := newTarget()
	dies := &broken{Handler: first.Server, at: func(n int) int {
		if n == 0 {
			return 9000
		}
		return 0
	}}
	p, err := d.fetch(t, listen(t, dies), listen(t, second.Server))
	if err != nil {
		t.Fatal(err)
	}
	d.mustBeCopy(t, second.machine, p)
}

// TestACopyThatIsGoneIsBegunAnew lets the server give up the copy while nobody is connected.
func TestACopyThatIsGoneIsBegunAnew(t *testing.T) {
	s := newSource(t, 300)
	d := newTarget()
	b := &broken{Handler: s.Server, at: func(n int) int {
		switch n {
		case 0:
			return 9000
		default:
			return -1
		}
	}}
	var gone atomic.Int64
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.count() == 1 && r.Method == http.MethodGet {
			// The source has gone on meanwhile; the new copy is newer.
			s.put(t, 300, 310, 100)
			if _, err := s.expire(time.Now().Add(2*keptIdle), keptIdle); err != nil {
				t.Error(err)
			}
			gone.Add(1)
		}
		b.ServeHTTP(w, r)
	})
	p, err := d.fetch(t, listen(t, h))
	if err != nil {
		t.Fatal(err)
	}
	if gone.Load() != 1 || b.count() != 3 {
		t.Errorf("%d copies were given up, %d connections", gone.Load(), b.count())
	}
	d.mustBeCopy(t, s.machine, p)
}

// TestACopyIsAsNewAsItShouldBe asks a source that is behind, and one that is not.
func TestACopyIsAsNewAsItShouldBe(t *testing.T) {
	old, current := newSource(t, 100), newSource(t, 2000)
	d := newTarget()
	d.o.Least = current.Applied().Index
	if d.o.Least <= old.Applied().Index {
		t.Fatal("the old source is not behind")
	}
	var asked atomic.Int64
	behind := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		old.ServeHTTP(w, r)
	})
	p, err := d.fetch(t, listen(t, behind), listen(t, current.Server))
	if err != nil || asked.Load() != tries {
		t.Fatalf("asked %d times: %v", asked.Load(), err)
	}
	d.mustBeCopy(t, current.machine, p)
}

// TestACopyOfAnotherPlaceIsRefused offers a place of the log that the copy does not go to.
func TestACopyOfAnotherPlaceIsRefused(t *testing.T) {
	s := newSource(t, 100)
	s.piece = pieceBytes
	d := newTarget()
	lies := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(&liar{w}, r)
	})
	if _, err := d.fetch(t, listen(t, lies)); !errors.Is(err, errStrange) || !strings.Contains(err.Error(), "announced was 999 of") {
		t.Errorf("a copy that is not what was offered: %v", err)
	}
	d.mustBeEmpty(t)
}

// liar says that a copy goes further than it does.
type liar struct{ http.ResponseWriter }

func (l *liar) WriteHeader(status int) {
	l.Header().Set(headerIndex, "999")
	l.ResponseWriter.WriteHeader(status)
}

// Unwrap lets a ResponseController set deadlines.
func (l *liar) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func TestAnotherClusterGetsNothingAndIsNotTaken(t *testing.T) {
	s := newSource(t, 100)
	d := newTarget()
	d.o.Cluster = 5
	if _, err := d.fetch(t, listen(t, s.Server)); !errors.Is(err, errForeign) || !strings.Contains(err.Error(), "cluster ID mismatch") {
		t.Errorf("a copy for another cluster: %v", err)
	}
	d.mustBeEmpty(t)
	lies := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set(headerCluster, s.cluster)
		s.ServeHTTP(w, r)
	})
	if _, err := d.fetch(t, listen(t, lies)); !errors.Is(err, errForeign) {
		t.Errorf("a copy of another cluster: %v", err)
	}
	d.mustBeEmpty(t)
}

func TestACopyNeedsRoom(t *testing.T) {
	s := newSource(t, 100)
	d := newTarget()
	d.fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1<<30 + 100, TotalBytes: 2 << 30})
	if _, err := d.fetch(t, listen(t, s.Server)); !errors.Is(err, storage.ErrNoRoom) {
		t.Errorf("a copy without room: %v", err)
	}
	d.mustBeEmpty(t)
}

func TestWhoGivesUpLeavesNothing(t *testing.T) {
	s := newSource(t, 300)
	d := newTarget()
	if _, err := d.fetch(t); err == nil {
		t.Error("nobody was asked and a copy came")
	}
	if _, err := d.fetch(t, "http://127.0.0.1:1", "::"); err == nil {
		t.Error("nobody answered and a copy came")
	}
	d.mustBeEmpty(t)
	// A copy that arrived earlier stays until a newer one is whole.
	p, err := d.fetch(t, listen(t, s.Server))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.fetch(t, listen(t, &broken{Handler: s.Server, at: func(int) int { return 3000 }, spoil: func(n, offset int, b []byte) {
		if n > 4 {
			b[0] ^= 1
		}
	}})); err == nil {
		t.Error("a copy came over connections that all break")
	}
	names, err := d.fs.List("data")
	if err != nil || !slices.Equal(names, []string{"state.ready"}) {
		t.Fatalf("left: %q, %v", names, err)
	}
	d.mustBeCopy(t, s.machine, p)
}

// TestACopyIsOneMoment puts while the copy is fetched: it must be the state at the place that it names.
func TestACopyIsOneMoment(t *testing.T) {
	s := newSource(t, 300)
	d := newTarget()
	at := s.Applied()
	want, _, err := s.KV().HashKV(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	b := &broken{Handler: s.Server, spoil: func(int, int, []byte) {
		s.put(t, n*3, n*3+10, 50)
		n++
	}}
	p, err := d.fetch(t, listen(t, b))
	if err != nil || p != at || n < 10 {
		t.Fatalf("%+v, want %+v, %d times something else was put: %v", p, at, n, err)
	}
	if _, err := storage.Adopt(d.fs, testDir); err != nil {
		t.Fatal(err)
	}
	c := openMachine(t, d.fs, testDir)
	if got, _, err := c.KV().HashKV(t.Context(), 0); err != nil || got != want || c.Applied() != at {
		t.Errorf("the hash is %+v, it was %+v; %v", got, want, err)
	}
	if err := c.engine.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestADiskThatRefusesLeavesNothingWhole lets each operation of the disk fail once.
func TestADiskThatRefusesLeavesNothingWhole(t *testing.T) {
	s := newSource(t, 60)
	s.piece = pieceBytes
	url := listen(t, s.Server)
	refused := 0
	for n := int32(0); ; n++ {
		d := newTarget()
		toggle, hits := failing(d.fs, n)
		d.o.FS = toggle
		p, err := d.fetch(t, url)
		if hits() == 0 {
			break
		}
		refused++
		ok, serr := isWhole(d.fs)
		if serr != nil {
			t.Fatal(serr)
		}
		if err == nil {
			// Another round got through, or what failed did not matter.
			d.mustBeCopy(t, s.machine, p)
			continue
		}
		if ok {
			// Promote failed behind its rename: the copy is whole then.
			d.mustBeCopy(t, s.machine, s.Applied())
		}
	}
	if refused < 30 {
		t.Errorf("only %d operations", refused)
	}
}

func isWhole(fs vfs.FS) (bool, error) {
	_, err := fs.Stat(storage.ReadyDir(testDir))
	if err != nil {
		return false, nil
	}
	b, err := state.PeekAt(storage.Options{FS: fs, Dir: storage.ReadyDir(testDir)})
	if err != nil || b.Log != testLog {
		return false, fmt.Errorf("what waits is no copy: %w", err)
	}
	return true, nil
}
