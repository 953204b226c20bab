package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
)

// maxHashAnswer bounds what another member may answer when it is asked for a hash, in bytes.
const maxHashAnswer = 64 << 10

// others are the other members as they are asked over their peer ports.
type others struct{ s *Server }

// HashKV implements chores.Others, by etcd's path and JSON.
func (o others) HashKV(ctx context.Context, id uint64, rev mvcc.Rev) (mvcc.Hash, error) {
	m, ok := o.s.data.machine.Members().Get(member.ID(id))
	if !ok {
		return mvcc.Hash{}, member.ErrNotFound
	}
	failed := errors.New("the member has no peer URL")
	for _, u := range m.PeerURLs {
		var h mvcc.Hash
		if h, failed = o.ask(ctx, u, rev); failed == nil {
			return h, nil
		}
	}
	return mvcc.Hash{}, fmt.Errorf("ask member %x for a hash: %w", id, failed)
}

func (o others) ask(ctx context.Context, u string, rev mvcc.Rev) (mvcc.Hash, error) {
	body, err := json.Marshal(map[string]int64{"revision": int64(rev)})
	if err != nil {
		return mvcc.Hash{}, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u+"/members/hashkv", bytes.NewReader(body))
	if err != nil {
		return mvcc.Hash{}, err
	}
	r.Header.Set("X-Etcd-Cluster-ID", hex(o.s.data.machine.Members().ClusterID()))
	resp, err := o.s.peers.client.Do(r)
	if err != nil {
		return mvcc.Hash{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxHashAnswer))
	if err != nil {
		return mvcc.Hash{}, err
	}
	if strings.Contains(string(text), mvcc.ErrFutureRev.Error()) {
		return mvcc.Hash{}, fmt.Errorf("%s: %w", resp.Status, mvcc.ErrFutureRev)
	}
	if resp.StatusCode != http.StatusOK {
		return mvcc.Hash{}, fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(text))
	}
	var answer pb.HashKVResponse
	if err := json.Unmarshal(text, &answer); err != nil {
		return mvcc.Hash{}, fmt.Errorf("read the answer: %w", err)
	}
	return mvcc.Hash{Hash: answer.Hash, Compact: mvcc.Rev(answer.CompactRevision), Rev: mvcc.Rev(answer.HashRevision)}, nil
}
