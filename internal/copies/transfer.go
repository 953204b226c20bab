package copies

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/keelson-db/keelson/internal/command"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

const (
	// maxUvarint is the longest that a length in a row is, in bytes.
	maxUvarint = binary.MaxVarintLen64
	// maxRefusal is how much of the reason for a refusal is read, in bytes.
	maxRefusal = 1 << 10
	// copyCache and copyMemTable are what the storage of a copy in the making needs, in bytes: next to nothing is
	// read of it or written to it but whole tables.
	copyCache    = 1 << 20
	copyMemTable = 1 << 20
	// roomEvery is how much may arrive before the disk is asked again whether it has room, in bytes: a source may be
	// wrong about the size of its copy.
	roomEvery = 64 << 20
	// farewell is how long it may take to tell the source that nothing more is wanted.
	farewell = 2 * time.Second
)

// errMute means that the source takes connections and does not answer: others are asked first.
var errMute = errors.New("it does not answer")

// errForeign means that the source belongs to another cluster.
var errForeign = errors.New("it belongs to another cluster")

// transfer is one copy on its way from one source.
type transfer struct {
	client *http.Client
	source string
	o      FetchOptions
	reader reader

	offer    offer // empty before the first frame can come
	got      totals
	engine   *storage.Engine
	copy     *state.Copy
	reported time.Time
	checked  uint64 // bytes that had arrived when the disk was asked for its room
}

// offer is what a source says of its copy.
type offer struct {
	id          string
	at          state.Position
	bytes, disk int64
}

// connect asks for what has not arrived, and takes it until the last frame or an error. One that wraps errBroken leaves the
// transfer where it can go on.
func (t *transfer) connect(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	unheard := time.AfterFunc(t.o.answerLimit, func() { cancel(fmt.Errorf("%w within %v", errMute, t.o.answerLimit)) })
	defer unheard.Stop()
	resp, err := t.ask(ctx, http.MethodGet)
	unheard.Stop()
	switch {
	case errors.Is(context.Cause(ctx), errMute):
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("%w: %w", errBroken, errors.Join(err, context.Cause(ctx)))
	}
	defer resp.Body.Close() // what was read is all that is wanted
	if err := t.accept(resp); err != nil {
		return err
	}
	watch := time.AfterFunc(stall, func() { cancel(fmt.Errorf("nothing came for %v", stall)) })
	defer watch.Stop()
	for {
		watch.Reset(stall)
		raw, last, err := t.reader.next(resp.Body)
		switch {
		case err != nil:
			return errors.Join(err, context.Cause(ctx))
		case last != nil:
			return t.check(last)
		}
		rows, err := eachRow(raw, t.copy.Add)
		if err != nil {
			return err
		}
		t.got.add(rows, raw)
		t.report()
		if err := t.checkRoom(); err != nil {
			return err
		}
	}
}

// ask sends a request about the copy.
func (t *transfer) ask(ctx context.Context, method string) (*http.Response, error) {
	q := url.Values{}
	if t.offer.id == "" {
		q.Set("min", strconv.FormatUint(t.o.Least, 10))
	} else {
		q.Set("id", t.offer.id)
		q.Set("frame", strconv.FormatUint(t.got.frames, 10))
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(t.source, "/")+Path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(headerCluster, strconv.FormatUint(t.o.Cluster, 16))
	req.Header.Set(headerFrom, strconv.FormatUint(uint64(t.o.Local), 16))
	req.Header.Set("Accept-Encoding", "identity")
	return t.client.Do(req)
}

// accept reads the head of an answer, and gets ready for the rows if it is the first one.
func (t *transfer) accept(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return t.refused(resp)
	}
	if got, want := resp.Header.Get(headerCluster), strconv.FormatUint(t.o.Cluster, 16); got != want {
		return fmt.Errorf("%w: %.40q, ours is %q", errForeign, got, want)
	}
	offer, err := parseOffer(resp.Header)
	if err != nil {
		return err
	}
	if t.offer.id != "" {
		if offer != t.offer {
			return fmt.Errorf("%w: it goes on with another copy", errStrange)
		}
		return nil
	}
	t.offer = offer
	if offer.at.Index < t.o.Least {
		return fmt.Errorf("its state goes to log entry %d, wanted is %d", offer.at.Index, t.o.Least)
	}
	if err := t.prepare(offer.disk); err != nil {
		return err
	}
	t.o.Progress.Total.Store(offer.bytes)
	t.o.Logger.Info("fetching a copy of the state", "from", t.source, "bytes", offer.bytes, "index", offer.at.Index)
	t.reported = time.Now()
	return nil
}

// refused makes an error of an answer that is no copy.
func (t *transfer) refused(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	why := fmt.Errorf("it answers %s: %q", resp.Status, strings.TrimSpace(string(text)))
	switch resp.StatusCode {
	case http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", errForeign, why)
	case http.StatusServiceUnavailable:
		// Another moment is better.
		return fmt.Errorf("%w: %w", errBroken, why)
	}
	return why
}

func parseOffer(h http.Header) (o offer, err error) {
	number := func(name string, bits int) (n uint64) {
		n, bad := strconv.ParseUint(h.Get(name), 10, bits)
		if bad != nil && err == nil {
			err = fmt.Errorf("%w: its header %s is %.40q", errStrange, name, h.Get(name))
		}
		return n
	}
	o.id = h.Get(headerID)
	o.at = state.Position{Index: number(headerIndex, 64), Term: number(headerTerm, 64)}
	o.bytes, o.disk = int64(number(headerBytes, 63)), int64(number(headerDisk, 63))
	stream, format, level := number(headerStream, 64), number(headerFormat, 64), number(headerLevel, 64)
	switch {
	case err != nil:
		return o, err
	case o.id == "":
		return o, fmt.Errorf("%w: it has no name", errStrange)
	case stream != streamVersion:
		return o, fmt.Errorf("its copies have version %d and this release takes version %d", stream, streamVersion)
	case level > command.Level:
		return o, fmt.Errorf("its cluster runs at level %d and this release knows level %d: start a release that is as new as the other members'", level, command.Level)
	case format != state.CopyFormat:
		return o, fmt.Errorf("its state has format %d and this release reads format %d", format, state.CopyFormat)
	}
	return o, nil
}

// prepare makes room for the copy, and an empty storage.
func (t *transfer) prepare(disk int64) error {
	if err := storage.Discard(t.o.FS, t.o.Dir); err != nil {
		return err
	}
	if err := storage.Room(t.o.FS, t.o.FS.PathDir(t.o.Dir), disk); err != nil {
		return fmt.Errorf("make room for a copy of the state: %w", err)
	}
	var err error
	t.engine, err = storage.Open(storage.Options{
		FS: t.o.FS, Dir: storage.NextDir(t.o.Dir), CacheBytes: copyCache, MemTableBytes: copyMemTable, Logger: t.o.Logger,
	})
	if err != nil {
		return err
	}
	t.copy, err = state.NewCopy(t.engine)
	return err
}

// checkRoom asks the disk now and then.
func (t *transfer) checkRoom() error {
	if t.got.bytes < t.checked+roomEvery {
		return nil
	}
	t.checked = t.got.bytes
	if err := storage.Room(t.o.FS, t.o.FS.PathDir(t.o.Dir), 0); err != nil {
		return fmt.Errorf("make room for a copy of the state: %w", err)
	}
	return nil
}

// check holds what has arrived against what the source has sent.
func (t *transfer) check(sent *totals) error {
	if t.got.rows != sent.rows || t.got.bytes != sent.bytes || t.got.crc != sent.crc {
		return fmt.Errorf("%w: %d rows of %d bytes have arrived, with the checksum %08x, of %d, %d and %08x", errStrange,
			t.got.rows, t.got.bytes, t.got.crc, sent.rows, sent.bytes, sent.crc)
	}
	return nil
}

// finish makes a state of the rows and leaves it to the next start.
func (t *transfer) finish() (state.Position, error) {
	p, err := t.copy.Finish(t.o.Local, t.o.Cluster, t.o.Log)
	if err != nil {
		return p, err
	}
	if p != t.offer.at {
		return p, fmt.Errorf("%w: it goes to log entry %d of term %d, announced was %d of term %d", errStrange,
			p.Index, p.Term, t.offer.at.Index, t.offer.at.Term)
	}
	if err := t.closeEngine(); err != nil {
		return p, err
	}
	if err := storage.Promote(t.o.FS, t.o.Dir); err != nil {
		return p, err
	}
	return p, nil
}

// part tells the source that it need not keep the copy. It will find out by itself if this does not arrive.
func (t *transfer) part(ctx context.Context) {
	if t.offer.id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	resp, err := t.ask(ctx, http.MethodDelete)
	if err == nil {
		err = resp.Body.Close()
	}
	if err != nil {
		t.o.Logger.Info("could not tell the source that its copy of the state is not needed any more", "source", t.source, "err", err)
	}
}

func (t *transfer) closeEngine() error {
	if t.engine == nil {
		return nil
	}
	e := t.engine
	t.engine = nil
	return e.Close()
}

// end removes what is not finished.
func (t *transfer) end(ctx context.Context) error {
	t.part(ctx)
	if t.engine == nil {
		return nil
	}
	var err error
	if t.copy != nil {
		err = t.copy.Abort()
	}
	return errors.Join(err, t.closeEngine(), storage.Discard(t.o.FS, t.o.Dir))
}

// report tells how far the copy is.
func (t *transfer) report() {
	t.o.Progress.Done.Store(int64(t.got.bytes))
	if time.Since(t.reported) >= reportEvery {
		t.reported = time.Now()
		t.o.Logger.Info("fetching a copy of the state", "from", t.source, "bytes", t.got.bytes, "of about", t.offer.bytes)
	}
}
