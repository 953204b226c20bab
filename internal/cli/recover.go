package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"github.com/keelson-db/keelson/internal/member"
	"github.com/keelson-db/keelson/internal/mvcc"
	"github.com/keelson-db/keelson/internal/rebuild"
	"github.com/keelson-db/keelson/internal/storage"
)

// recovery is one try to make a cluster serve again that has lost its quorum.
type recovery struct {
	x         connection
	dataDirs  []string
	walDirs   []string
	use       string
	backupDir string
	yes       bool
	noBackup  bool

	fs     vfs.FS
	person person
}

func recoverCommand() *cobra.Command {
	r := &recovery{fs: vfs.Default}
	c := &cobra.Command{
		Use:   "recover --data-dir DIR",
		Short: "Make a cluster serve again that has lost more members than it can miss",
		Long: "Make a cluster serve again that has lost more members than it can miss. It looks at the directories of members that are\n" +
			"stopped, and asks those that run, shows whose log is the longest and what may be lost, and makes of one directory the\n" +
			"only member of the cluster. Nothing is written before you have agreed. The other members join again with empty\n" +
			"directories. Name every directory and every running member that you can reach: what is not known cannot be weighed.",
		Example: "  keelson recover --data-dir /var/lib/keelson/n1.keelson\n" +
			"  keelson recover --data-dir n1.keelson --data-dir copied-from-n2.keelson --endpoints http://10.0.0.3:2379",
		Args: arguments(0, 0),
	}
	r.x.flags(c)
	f := c.Flags()
	f.Lookup("endpoints").Usage = "addresses of members that run, to ask them too; nobody is asked by default"
	f.StringArrayVar(&r.dataDirs, "data-dir", nil, "data directory of a member that is stopped; may be given several times")
	f.StringArrayVar(&r.walDirs, "wal-dir", nil, "directory of that member's raft log, if it has one of its own; in the order of --data-dir")
	f.StringVar(&r.use, "use", "", "rebuild from this one, a member's name, ID or directory, and not from the one with the longest log")
	f.BoolVar(&r.yes, "yes", false, "do not ask")
	f.StringVar(&r.backupDir, "backup-dir", "", "where to copy the directory before it is changed (default beside it)")
	f.BoolVar(&r.noBackup, "no-backup", false, "copy nothing before")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := r.read(c); err != nil {
			return err
		}
		r.person = person{in: c.InOrStdin(), out: c.ErrOrStderr()}
		return r.run(c.Context())
	}
	return c
}

func (r *recovery) read(c *cobra.Command) error {
	if err := r.x.read(c); err != nil {
		return err
	}
	if !c.Flags().Changed("endpoints") {
		r.x.endpoints = nil // nobody is asked by habit
	}
	switch {
	case len(r.dataDirs) == 0 && len(r.x.endpoints) == 0:
		return misuse("name the data directories of stopped members with --data-dir, and addresses of running ones with --endpoints")
	case len(r.walDirs) > len(r.dataDirs):
		return misuse("there are more --wal-dir than --data-dir: each belongs to the --data-dir in the same place")
	case r.noBackup && r.backupDir != "":
		return misuse("--no-backup and --backup-dir do not go together")
	}
	return nil
}

func (r *recovery) place(i int) rebuild.Place {
	p := rebuild.Place{FS: r.fs, Data: r.dataDirs[i]}
	if i < len(r.walDirs) {
		p.WAL = r.walDirs[i]
	}
	return p
}

func (r *recovery) run(ctx context.Context) error {
	s := surveyed{now: time.Now()}
	var found []*rebuild.Facts
	for i := range r.dataDirs {
		found = append(found, rebuild.Look(r.place(i)))
	}
	for _, endpoint := range r.x.endpoints {
		found = append(found, r.x.facts(ctx, endpoint))
	}
	s.clusters, s.useless = rebuild.Survey(found)
	refused := r.choose(&s)
	if err := r.x.out.survey(&s); err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	if err := r.agree(s.chosen); err != nil {
		return err
	}
	return r.rebuild(&s)
}

// facts asks a running member.
func (x *connection) facts(ctx context.Context, endpoint string) *rebuild.Facts {
	f := &rebuild.Facts{Source: endpoint, Running: true}
	alone := *x
	alone.endpoints = []string{endpoint}
	var err error
	if alone.client, err = alone.dial(alone.endpoints); err != nil {
		f.Problem = err
		return f
	}
	defer alone.client.Close()
	s, err := alone.statusOf(ctx, endpoint)
	if err != nil {
		f.Problem = err
		return f
	}
	f.Cluster, f.ID, f.Leader, f.Learner = s.Header.GetClusterId(), member.ID(s.Header.GetMemberId()), s.Leader, s.IsLearner
	f.Commit, f.Applied, f.Revision = s.RaftIndex, s.RaftAppliedIndex, mvcc.Rev(s.Header.GetRevision())
	list, err := alone.members(ctx, true)
	f.Problem = alone.explain(err)
	for _, m := range list {
		one := member.Member{ID: member.ID(m.ID), Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner}
		f.Members = append(f.Members, one)
		if one.ID == f.ID {
			f.Name = m.Name
		}
	}
	return f
}

// choose finds the member to rebuild from, or says why there is none.
func (r *recovery) choose(s *surveyed) error {
	switch {
	case r.use != "":
		if err := r.find(s); err != nil {
			return err
		}
	case len(s.clusters) == 0:
		return errors.New("there is nothing to rebuild a cluster from: name other directories with --data-dir")
	case len(s.clusters) > 1:
		return errors.New("these are members of several clusters: say with --use which one to rebuild from, or name those of one cluster only")
	default:
		s.cluster, s.chosen = s.clusters[0], s.clusters[0].Found[0]
	}
	s.verdict = s.cluster.Weigh(s.chosen)
	return r.mayUse(s)
}

// find finds the one that --use names.
func (r *recovery) find(s *surveyed) error {
	means := func(f *rebuild.Facts) bool {
		return f.Call() == r.use || hex(uint64(f.ID)) == r.use || filepath.Clean(f.Source) == filepath.Clean(r.use)
	}
	for _, c := range s.clusters {
		for _, f := range c.Found {
			if !means(f) {
				continue
			}
			if s.chosen != nil {
				return misuse("--use %s may be %s or %s: name the directory", r.use, s.chosen.Source, f.Source)
			}
			s.cluster, s.chosen = c, f
		}
	}
	if s.chosen != nil {
		return nil
	}
	if i := slices.IndexFunc(s.useless, means); i >= 0 {
		return fmt.Errorf("%s cannot be used: %w", r.use, s.useless[i].Problem)
	}
	return misuse("--use %s is none of those that were found", r.use)
}

// mayUse refuses what would do harm or cannot work.
func (r *recovery) mayUse(s *surveyed) error {
	for _, f := range s.cluster.Found {
		if f.Leader != 0 {
			return fmt.Errorf("the cluster has a leader, as %s at %s says, and needs no rebuilding: "+
				"replace the lost members with \"keelson member remove\" and \"keelson join\"", f.Call(), f.Source)
		}
	}
	f := s.chosen
	switch {
	case f.Problem != nil:
		return fmt.Errorf("%s, in %s, cannot be used: %w", f.Call(), f.Source, f.Problem)
	case f.Running:
		return fmt.Errorf("%s runs at %s: stop it and name its directory with --data-dir to rebuild from it", f.Call(), f.Source)
	case f.Removed:
		return fmt.Errorf("%s, in %s, cannot be used: %w", f.Call(), f.Source, rebuild.ErrGone)
	}
	return nil
}

// agree asks the operator.
func (r *recovery) agree(f *rebuild.Facts) error {
	if r.yes {
		return nil
	}
	if !r.person.there() {
		return misuse("nothing was changed: there is no terminal to ask at; add --yes to rebuild the cluster from %s", f.Call())
	}
	return r.person.confirm(fmt.Sprintf("Type %s to make it the only member of the cluster: ", f.Call()), f.Call())
}

// rebuild does what was agreed.
func (r *recovery) rebuild(s *surveyed) error {
	p := r.place(slices.Index(r.dataDirs, s.chosen.Source))
	done := rebuilt{chosen: s.chosen, place: p}
	if !r.noBackup {
		done.backup = r.backupDir
		if done.backup == "" {
			done.backup = filepath.Clean(p.Data) + ".before-recover-" + s.now.Format("20060102-150405")
		}
		if err := rebuild.Backup(p, done.backup); err != nil {
			hint := ""
			if errors.Is(err, storage.ErrNoRoom) {
				hint = "; choose a place with --backup-dir, or do without a copy with --no-backup"
			}
			return fmt.Errorf("nothing was changed: %w%s", err, hint)
		}
	}
	var err error
	if done.removed, err = rebuild.Rebuild(p, s.chosen, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	return r.x.out.rebuilt(&done)
}
