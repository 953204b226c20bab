package bootstrap

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/keelson-db/keelson/internal/certs"
	"github.com/keelson-db/keelson/internal/config"
)

const (
	// registry is where a discovery cluster keeps who wants to be together: below it the token, below that
	// "_config/size" with the number of members, written by the operator, and "members/<id>", each written by a member.
	registry = "/_etcd/registry"
	// maxBackoff is the longest pause between two calls that fail; the first is two seconds, and each is twice the last.
	maxBackoff = 256 * time.Second
	// firstBackoff is the first of them.
	firstBackoff = 2 * time.Second
)

// Errors of the discovery cluster, in etcd's words.
var (
	errInvalidURL   = errors.New("discovery: invalid peer URL")
	errBadSizeKey   = errors.New("discovery: size key is bad")
	errSizeNotFound = errors.New("discovery: size key not found")
	errFullCluster  = errors.New("discovery: cluster is full")
)

// dial connects to the discovery cluster.
func dial(ctx context.Context, d *config.Discovery, log *slog.Logger) (*clientv3.Client, error) {
	c := clientv3.Config{
		Endpoints: d.Endpoints, DialTimeout: d.DialTimeout, DialKeepAliveTime: d.KeepAliveTime, DialKeepAliveTimeout: d.KeepAliveTimeout,
		Username: d.User, Password: d.Password, Token: d.AuthToken, Context: ctx, Logger: zap.NewNop(),
	}
	if d.CertFile != "" || d.KeyFile != "" || d.TrustedCAFile != "" || d.ServerName != "" || d.InsecureSkipVerify || !d.InsecureTransport {
		keeper, err := certs.Open(certs.Options{
			CertFile: d.CertFile, KeyFile: d.KeyFile, TrustedCAFile: d.TrustedCAFile, ServerName: d.ServerName,
			TrustAnyServer: d.InsecureSkipVerify, Protocols: []string{"h2"},
		}, log)
		if err != nil {
			return nil, err
		}
		c.TLS = keeper.Client("") // gRPC fills in the host
	}
	return clientv3.New(c)
}

// directory is the registry of one token.
type directory struct {
	client  *clientv3.Client
	log     *slog.Logger
	limit   time.Duration // of one request
	prefix  string
	self    string // the id of this member
	retries int    // calls in a row that failed
}

func (d *directory) sizeKey() string    { return d.prefix + "/_config/size" }
func (d *directory) membersKey() string { return d.prefix + "/members" }
func (d *directory) selfKey() string    { return d.membersKey() + "/" + d.self }

// page is the registry at one moment.
type page struct {
	size     int
	entries  []entry // by the order in which they came
	revision int64
}

// entry is one member that registered.
type entry struct {
	key, pairs string
	created    int64
}

// hasRoom reports whether a member is among the first, or could still come among them.
func (p *page) hasRoom(key string) bool {
	i := slices.IndexFunc(p.entries, func(e entry) bool { return e.key == key })
	return i >= 0 && i < p.size || i < 0 && len(p.entries) < p.size
}

// roster is who came first.
func (p *page) roster() (roster, error) {
	var pairs []string
	for _, e := range p.entries[:p.size] {
		pairs = append(pairs, e.pairs)
	}
	listed, err := parseRoster(strings.Join(pairs, ","))
	if err != nil {
		return nil, errInvalidURL
	}
	return listed, nil
}

// read returns the registry, however long that takes. That it names no size is final.
func (d *directory) read(ctx context.Context) (p page, err error) {
	err = d.insist(ctx, "read the registry", func(ctx context.Context) error {
		size, err := d.client.Get(ctx, d.sizeKey())
		if err != nil {
			return err
		}
		if p.size, err = parseSize(size.Kvs); err != nil {
			return err
		}
		members, err := d.client.Get(ctx, d.membersKey(), clientv3.WithPrefix())
		if err != nil {
			return err
		}
		p.entries, p.revision = d.parseEntries(members.Kvs), members.Header.Revision
		return nil
	})
	return p, err
}

func parseSize(found []*mvccpb.KeyValue) (int, error) {
	if len(found) == 0 {
		return 0, errSizeNotFound
	}
	size, err := strconv.Atoi(string(found[0].Value))
	if err != nil || size <= 0 {
		return 0, errBadSizeKey
	}
	return size, nil
}

// parseEntries passes over what is no member, as in name=http://10.0.0.1:2380.
func (d *directory) parseEntries(found []*mvccpb.KeyValue) []entry {
	var all []entry
	for _, kv := range found {
		e := entry{strings.TrimSpace(string(kv.Key)), strings.TrimSpace(string(kv.Value)), kv.CreateRevision}
		if !strings.Contains(e.pairs, "=") {
			d.log.Warn("invalid peer info returned from discovery service", "key", e.key, "value", e.pairs)
			continue
		}
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.created, b.created) })
	return all
}

// write registers this member. Written twice it keeps its place.
func (d *directory) write(ctx context.Context, pairs string) error {
	return d.insist(ctx, "register", func(ctx context.Context) error {
		_, err := d.client.Put(ctx, d.selfKey(), pairs)
		return err
	})
}

// wait returns when somebody has registered since a revision, or when nobody can tell any more.
func (d *directory) wait(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer, ok := <-d.client.Watch(ctx, d.membersKey(), clientv3.WithPrefix(), clientv3.WithRev(revision+1))
	if err := answer.Err(); err != nil || !ok {
		return d.pause(ctx, "watch the registry", err)
	}
	return nil
}

// insist makes calls until one succeeds, the registry is wrong, or the context is done.
func (d *directory) insist(ctx context.Context, what string, call func(ctx context.Context) error) error {
	for {
		one, cancel := context.WithTimeout(ctx, d.limit)
		err := call(one)
		cancel()
		if err == nil || errors.Is(err, errSizeNotFound) || errors.Is(err, errBadSizeKey) {
			d.retries = 0
			return err
		}
		if err := d.pause(ctx, what, err); err != nil {
			return err
		}
	}
}

// pause waits after a failure, longer each time.
func (d *directory) pause(ctx context.Context, what string, failure error) error {
	backoff := min(firstBackoff<<min(d.retries, 16), maxBackoff)
	d.retries++
	d.log.Warn("could not "+what+" at the discovery cluster", "error", errorText(failure), "try-again-in", backoff.String())
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(backoff):
		return nil
	}
}
