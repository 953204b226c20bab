package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keelson-db/keelson/internal/bootstrap"
	"github.com/keelson-db/keelson/internal/raftlog"
	"github.com/keelson-db/keelson/internal/replica"
	"github.com/keelson-db/keelson/internal/state"
	"github.com/keelson-db/keelson/internal/storage"
)

// origin is where a new cluster's log begins: as if the founding had been its first entry.
var origin = state.Position{Index: 1, Term: 1}

// begin makes the first state of a member whose directory is empty: that of a cluster which it founds with others,
// or a copy of a running cluster's. logThere says that an earlier try came as far as the log.
func (d *data) begin(ctx context.Context, logThere bool) error {
	if logThere {
		if err := d.checkNewLog(); err != nil {
			return err
		}
	}
	plan, err := bootstrap.Resolve(ctx, d.config, bootstrap.Options{Client: d.peers.client, Pinned: d.peers.pinned, Log: d.env.Log})
	if err != nil {
		return err
	}
	if plan.Existing {
		return d.join(ctx, plan)
	}
	if d.log == nil {
		if d.log, err = raftlog.Create(d.logOptions(), raftlog.Origin{ID: d.env.Seed, Index: origin.Index, Term: origin.Term}); err != nil {
			return err
		}
	}
	return state.Found(d.engine, state.Founding{
		Origin: origin, Log: d.log.ID(), Cluster: plan.Cluster, Local: plan.Local, Members: plan.Members,
	})
}

// checkNewLog opens a log that is there without a state, and makes sure that nothing of a state is missing.
func (d *data) checkNewLog() (err error) {
	if d.log, err = raftlog.Open(d.logOptions()); err != nil {
		return err
	}
	first, err := d.log.FirstIndex()
	if err != nil {
		return err
	}
	if first != origin.Index+1 {
		return fmt.Errorf("the raft log %s begins at entry %d and the state before it is not there: "+
			"put the state back in its place, or restore a backup", d.logOptions().Dir, first)
	}
	return nil
}

// join fills the directory with a copy of the cluster's state.
func (d *data) join(ctx context.Context, plan bootstrap.Plan) error {
	log := d.env.Seed
	if d.log != nil {
		log = d.log.ID()
	}
	d.env.Log.Info("joining the cluster: fetching a copy of its state", "cluster", hex(plan.Cluster), "member", hex(uint64(plan.Local)))
	d.env.say("found cluster %x with %d members, this one among them as %x", plan.Cluster, len(plan.Members), uint64(plan.Local))
	if err := d.fetchKnown(ctx, want{local: plan.Local, cluster: plan.Cluster, log: log, sources: plan.Sources}); err != nil {
		return err
	}
	if err := d.engine.Close(); err != nil {
		return err
	}
	d.engine = nil
	if err := d.adopt(); err != nil {
		return err
	}
	return d.openEngine()
}

// fetchKnown fetches a copy that knows this member.
func (d *data) fetchKnown(ctx context.Context, w want) error {
	for try := 1; ; try++ {
		if err := d.fetch(ctx, w); err != nil {
			return err
		}
		brief, err := state.PeekAt(storage.Options{FS: d.env.FS, Dir: storage.ReadyDir(d.stateDir()), Logger: d.env.Log})
		if err != nil {
			return err
		}
		if _, ok := brief.Members.Get(w.local); ok {
			return nil
		}
		if brief.Members.Removed(w.local) {
			return fmt.Errorf("%w: add it again as a new member", replica.ErrRemoved)
		}
		if try == joinTries {
			return fmt.Errorf("the copy of the state does not know this member (%x): was it added to this cluster?", uint64(w.local))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(joinPause):
		}
	}
}

// adopt puts a copy of the state that waits into its place, and makes the log begin where it ends, unless the log
// reaches there. Entries that it drops were committed before the copy was made. After a crash at any moment the next
// start does the rest.
func (d *data) adopt() error {
	brief, err := state.PeekAt(storage.Options{FS: d.env.FS, Dir: storage.ReadyDir(d.stateDir()), Logger: d.env.Log})
	if err != nil {
		return err
	}
	o := d.logOptions()
	exists, err := raftlog.Exists(o.FS, o.Dir)
	if err != nil {
		return err
	}
	if d.log == nil && exists {
		if d.log, err = raftlog.Open(o); err != nil {
			return err
		}
	}
	at := brief.Applied
	switch {
	case d.log == nil:
		if d.log, err = raftlog.Create(o, raftlog.Origin{ID: brief.Log, Index: at.Index, Term: at.Term}); err != nil {
			return err
		}
	case d.log.ID() != brief.Log:
		return errors.New("a copy of the state waits that was fetched for another raft log; nothing was changed: " +
			"was the log moved or named with --wal-dir? remove " + storage.ReadyDir(d.stateDir()) + " to go on without the copy")
	default:
		err := d.log.Reset(at.Index, at.Term)
		if errors.Is(err, raftlog.ErrOldCopy) {
			d.env.Log.Warn("a copy of the state that waited is older than what this member has by now: going on without it", "index", at.Index)
			return storage.Reject(d.env.FS, d.stateDir())
		}
		if err != nil {
			return err
		}
	}
	if _, err := storage.Adopt(d.env.FS, d.stateDir()); err != nil {
		return err
	}
	d.env.Log.Info("took over a copy of the state", "index", at.Index, "term", at.Term)
	return nil
}
