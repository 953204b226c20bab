package cluster

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/keelson-db/keelson/test/harness"
)

// joining starts a node with "keelson join" instead of with flags alone, and without the flag --initial-cluster, which is in
// its way.
func joining(address string) []string {
	return []string{"sh", "-c", `bin="$1"; shift
for flag; do
	shift
	case "$flag" in
	--initial-cluster) skip=1 ;;
	*) if [ -n "$skip" ]; then skip=; else set -- "$@" "$flag"; fi ;;
	esac
done
exec "$bin" join ` + address + ` "$@"`, "sh"}
}

// keelson runs one of the product's client commands.
func keelson(t *testing.T, line string) harness.Result {
	t.Helper()
	bins, err := harness.Build()
	if err != nil {
		t.Fatal(err)
	}
	return harness.Run(t, harness.CallLimit, t.TempDir(), nil, bins.Server, strings.Fields(line)...)
}

// mustKeelson is keelson for a command that has to go well, perhaps after a while: members wait until they know each
// other well enough.
func mustKeelson(t *testing.T, line string) (out string) {
	t.Helper()
	harness.Eventually(t, harness.SettleLimit, "keelson "+line, func() error {
		r := keelson(t, line)
		out = r.Out
		if r.Code != 0 {
			return fmt.Errorf("exit code %d: %s", r.Code, r.Err)
		}
		return nil
	})
	return out
}

// listedMember is a member as the commands tell of it.
type listedMember struct {
	ID, Name string
	Learner  bool
}

func listed(t *testing.T, line string) []listedMember {
	t.Helper()
	var list struct{ Members []listedMember }
	if err := json.Unmarshal([]byte(mustKeelson(t, line+" -o json")), &list); err != nil {
		t.Fatal(err)
	}
	return list.Members
}

// TestThreeCommandsMakeACluster starts a node, lets two others join it, and does with the product's own commands what an
// operator does then.
func TestThreeCommandsMakeACluster(t *testing.T) {
	t.Parallel()
	if !onKeelson() {
		t.Skip("these are Keelson's own commands")
	}
	nodes := []*harness.Node{harness.Start(t, harness.Options{Name: "a", QuietLog: true})}
	for _, name := range []string{"b", "c"} {
		n := harness.Start(t, harness.Options{Name: name, QuietLog: true, Prefix: joining(nodes[0].PeerURL())})
		nodes = append(nodes, n)
		harness.Eventually(t, harness.SettleLimit, name+" tells how it joins", func() error {
			rest := n.Log.String()
			for _, part := range []string{"found cluster ", fmt.Sprintf("with %d members", len(nodes)), "\ncopied ", "\ncaught up, as a learner", "\npromoted: "} {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					return fmt.Errorf("%q is missing", part)
				}
				rest = after
			}
			return nil
		})
	}
	at := " --endpoints " + nodes[0].ClientAddr
	if list := listed(t, "member list"+at); len(list) != 3 {
		t.Fatalf("the members are %+v", list)
	}
	if out := mustKeelson(t, "move-leader b"+at); !strings.Contains(out, "b (") {
		t.Errorf("move-leader says %q", out)
	}
	if out := mustKeelson(t, "status --cluster"+at); strings.Count(out, ", leader") != 1 || strings.Count(out, ", follower") != 2 {
		t.Errorf("the status is\n%s", out)
	}
	mustKeelson(t, "member remove c"+at)
	if _, err := nodes[2].Proc().Wait(harness.SettleLimit); err != nil {
		t.Errorf("a removed member goes on: %v", err)
	}
	mustKeelson(t, "member add d --learner --peer-urls http://127.0.0.1:1"+at)
	list := listed(t, "member list --stale"+at)
	if len(list) != 3 {
		t.Errorf("the members are %+v", list)
	}
	for _, m := range list {
		if m.Learner != (m.Name == "") {
			t.Errorf("the members are %+v", list)
		}
	}
	if r := keelson(t, "recover --yes"+at); r.Code == 0 || !strings.Contains(r.Err, "has a leader") {
		t.Errorf("a cluster that is well is recovered: %+v", r)
	}
}
