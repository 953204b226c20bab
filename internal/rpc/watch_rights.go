package rpc

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-db/keelson/internal/auth"
	"github.com/keelson-db/keelson/internal/token"
	"github.com/keelson-db/keelson/internal/watch"
)

// watchRights decides what one stream of watchers may see. A watcher is judged when it is made, as in etcd,
// and again, unlike there, whenever users or roles have changed, before anything more is sent: who is no
// longer allowed to read gets an answer that ends the watcher and no further event. A token that has only
// expired ends nothing, because who it stands for was proven.
type watchRights struct {
	access
	ctx    context.Context // of the stream, with what the client sent along
	stream *watch.Stream

	judged *auth.View // by which all watchers were judged last; the sender's own

	mu  sync.Mutex // held while a watcher is judged and made, so that no review can fall in between
	who person
}

// person is who was recognised on a stream.
type person struct {
	known bool
	name  string
	token bool   // they showed a token
	epoch uint64 // and this was the epoch of their password
}

// create makes a watcher, or answers that there can be none. A start before all history is refused for that,
// whoever asks.
func (r *watchRights) create(request *pb.WatchCreateRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if request.StartRevision >= 0 {
		if err := r.judge(request); err != nil {
			r.stream.Refuse(wireError(err).Error())
			return
		}
	}
	r.stream.Create(createOf(request))
}

func (r *watchRights) judge(request *pb.WatchCreateRequest) error {
	view := r.view()
	if !view.Enabled() {
		return nil
	}
	by, err := r.recognise(view)
	if errors.Is(err, token.ErrInvalid) && r.settle(r.ctx) {
		by, err = r.recognise(r.view())
	}
	if err != nil {
		return err
	}
	return r.machine.Authorize(by, request)
}

// recognise identifies the client anew and remembers them, unless their identity is older than the users: it may
// stand for somebody of that name who is no more.
func (r *watchRights) recognise(view *auth.View) (auth.Identity, error) {
	by, err := r.identify(r.ctx, view)
	if err != nil || by.User == "" || by.Rev < view.Revision() {
		return by, err
	}
	r.who = person{known: true, name: by.User}
	if user, ok := view.User(by.User); ok {
		_, r.who.token = tokenOf(r.ctx)
		r.who.epoch = user.Epoch
	}
	return by, nil
}

// present is who is asking by now. Whoever was recognised still is, even if the token has expired; but not if
// it has been taken back since, with a new password.
func (r *watchRights) present(view *auth.View) (auth.Identity, error) {
	if !r.who.known {
		return r.recognise(view)
	}
	if user, ok := view.User(r.who.name); ok && r.who.token && user.Epoch != r.who.epoch {
		return auth.Identity{}, token.ErrInvalid
	}
	return auth.Identity{User: r.who.name, Rev: view.Revision()}, nil
}

// review takes from what is about to be sent all that may no longer be seen. What is compared is the whole
// view and not the auth revision, which does not change when users are switched on. Users are published before
// keys, so the view that is found here is at least as young as every event in hand.
func (r *watchRights) review(turn []*watch.Response) []*watch.Response {
	if r.view() == r.judged {
		return turn
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	view := r.view()
	r.judged = view
	if !view.Enabled() {
		return turn
	}
	by, unknown := r.present(view)
	return r.stream.Review(func(key, end []byte) string {
		err := unknown
		if err == nil {
			err = view.CheckRange(by, auth.Read, key, end)
		}
		if err == nil {
			return ""
		}
		return wireError(err).Error()
	})
}
