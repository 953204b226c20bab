package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/keelson-db/keelson/internal/config"
)

// TestForceNewClusterCountsOnceAndForOldDataOnly opens a directory with --force-new-cluster: an empty one is that of a new
// cluster, as without the flag; one with data becomes that of a member alone, unless the process had it open before.
func TestForceNewClusterCountsOnceAndForOldDataOnly(t *testing.T) {
	c, err := config.Parse([]string{"--data-dir", "d", "--name", "a", "--force-new-cluster", "--initial-advertise-peer-urls", "http://127.0.0.1:1",
		"--initial-cluster", "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3"}, nil, "keelson")
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	var told []string
	open := func(again bool) (members int) {
		t.Helper()
		e := Env{FS: fs, Seed: 9, Log: slog.New(slog.DiscardHandler), Say: func(line string) { told = append(told, line) }, again: again}
		d, err := openData(context.Background(), c, e, &peerDoors{client: &http.Client{Transport: nobody{}}})
		if err != nil {
			t.Fatal(err)
		}
		members = len(d.machine.Members().List())
		if err := d.close(); err != nil {
			t.Fatal(err)
		}
		return members
	}
	if n := open(false); n != 3 {
		t.Errorf("a new cluster has %d members", n)
	}
	if n := open(true); n != 3 {
		t.Errorf("a start in the same process has left %d members", n)
	}
	for range 2 {
		if n := open(false); n != 1 {
			t.Errorf("a start with data has left %d members", n)
		}
	}
	if len(told) > 0 {
		t.Errorf("nobody joins, and the operator was told %q", told)
	}
}

// nobody is a network where nobody answers.
type nobody struct{}

func (nobody) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody answers")
}
