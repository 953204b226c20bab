package integration

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/keelson-db/keelson/test/harness"
)

// TestEtcdctl plays the scripts in testdata/etcdctl with the stock etcdctl, as a user would type them, and compares
// what it prints and its exit code. A real etcd wrote the expected output. Commands:
//
//	ctl                 one command line per line; $LEASE stands for the lease granted last
//	stdin ARGS...       etcdctl with these arguments, fed with the lines below; a lone dot is an empty line
//	start name=N        starts the command line below and lets it run
//	type name=N         types the lines below into the running command
//	sees name=N         waits until each line below has been printed
//	interrupt name=N    presses ctrl-c, prints everything and the exit code
//	ends name=N         waits for the end and prints everything and the exit code
func TestEtcdctl(t *testing.T) {
	paths, err := filepath.Glob("testdata/etcdctl/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			u := newUser(t, harness.Start(t, harness.Options{}))
			datadriven.RunTest(t, path, u.play)
		})
	}
}

// user types commands and looks at what they print, with everything that differs from run to run masked.
type user struct {
	node    *harness.Node
	running map[string]*harness.Proc
	lease   string
	masks   []mask
}

type mask struct {
	find *regexp.Regexp
	put  string
}

var blankLines = regexp.MustCompile(`(?m)^\.\n`)

var leaseGranted = regexp.MustCompile(`lease ([0-9a-f]{16}) granted`)

func newUser(t *testing.T, n *harness.Node) *user {
	t.Helper()
	status, err := n.Client(t).Status(harness.Ctx(t), n.ClientAddr)
	if err != nil {
		t.Fatalf("read the status: %v", err)
	}
	plain := func(text, put string) mask { return mask{regexp.MustCompile(regexp.QuoteMeta(text)), put} }
	dec := func(id uint64) string { return strconv.FormatUint(id, 10) }
	hex := func(id uint64) string { return strconv.FormatUint(id, 16) }
	h := status.Header
	rx := func(find, put string) mask { return mask{regexp.MustCompile(find), put} }
	return &user{node: n, running: map[string]*harness.Proc{}, masks: []mask{
		plain(n.ClientAddr, "ADDR"), plain(n.PeerAddr, "PEER"),
		plain(dec(h.MemberId), "MEMBER"), plain(hex(h.MemberId), "MEMBER"),
		plain(dec(h.ClusterId), "CLUSTER"), plain(hex(h.ClusterId), "CLUSTER"),
		rx(`"raft_term":\d+`, `"raft_term":TERM`), rx(`("RaftTerm" : )\d+`, "${1}TERM"),
		rx(`("(?:ID|id|lease|Lease)" ?: ?)[1-9]\d{12,}`, "${1}LEASE"), rx(`\b[0-9a-f]{13,16}\b`, "LEASE"),
		rx(`took[ ="]+:?[ "]*[0-9.]+[µm]?s`, "took TIME"), rx(`(│ )[0-9.]+[µm]?s( +│)`, "${1}TIME$2"),
		rx(`remaining\(\d+s\)`, "remaining(TIME)"), rx(`("ttl":|"TTL" : )(59[0-9]|600)\b`, "${1}TIME"),
		rx(`\b3\.7\.\d+(-[a-z0-9.]+)?`, "VERSION"), rx(`\d+(\.\d+)? ([kMG]i?)?B\b`, "SIZE"), rx(`\b\d+%`, "PERCENT"),
		rx(`("(?:raftIndex|raftAppliedIndex|raftTerm|dbSize|dbSizeInUse)":)\d+`, "${1}N"),
		rx(`("(?:RaftIndex|RaftAppliedIndex|DBSize|DBSizeInUse)" : )\d+`, "${1}N"),
		rx(`(true, false), \d+, \d+, \d+,`, "$1, N, N, N,"), rx(`(true │ +false │) +\d+ │ +\d+ │ +\d+ │`, "$1 N │ N │ N │"),
		// A table is as wide as its widest number.
		rx(`─+`, "─"), rx(` +`, " "),
	}}
}

func (u *user) mask(text string) string {
	for _, m := range u.masks {
		text = m.find.ReplaceAllString(text, m.put)
	}
	return text
}

func (u *user) play(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	var name string
	if d.HasArg("name") {
		d.ScanArgs(t, "name", &name)
	}
	switch d.Cmd {
	case "ctl":
		var out strings.Builder
		for line := range strings.Lines(d.Input) {
			out.WriteString(u.result(u.node.CtlInput(t, "", u.words(t, line)...)))
		}
		return out.String()
	case "stdin":
		var args []string
		for _, a := range d.CmdArgs {
			args = append(args, a.String())
		}
		return u.result(u.node.CtlInput(t, blankLines.ReplaceAllString(d.Input+"\n", "\n"), args...))
	case "start":
		u.running[name] = u.node.StartCtl(t, u.words(t, d.Input)...)
		return ""
	case "type":
		for line := range strings.Lines(d.Input) {
			u.running[name].WriteLine(t, strings.TrimSuffix(line, "\n"))
		}
		return ""
	case "sees":
		for line := range strings.Lines(d.Input) {
			u.running[name].WaitOut(t, strings.TrimSuffix(line, "\n"))
		}
		return ""
	case "interrupt":
		if err := u.running[name].Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		return u.end(t, name)
	case "ends":
		return u.end(t, name)
	default:
		t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
		return ""
	}
}

func (u *user) end(t *testing.T, name string) string {
	t.Helper()
	p := u.running[name]
	code, err := p.Wait(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return u.result(harness.Result{Out: p.Out.String(), Err: p.Err.String(), Code: code})
}

// result shows standard output, the error line of standard error, and an exit code other than 0.
func (u *user) result(r harness.Result) string {
	if m := leaseGranted.FindStringSubmatch(r.Out); m != nil {
		u.lease = m[1]
	}
	text := r.Out
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	for line := range strings.Lines(r.Err) {
		// The client library's own log lines carry times and connection details.
		if !strings.HasPrefix(line, "{") {
			text += "stderr: " + strings.TrimSuffix(line, "\n") + "\n"
		}
	}
	if r.Code != 0 {
		text += fmt.Sprintf("exit code %d\n", r.Code)
	}
	return u.mask(text)
}

// words splits a line into arguments; single and double quotes group, a backslash stands for itself.
func (u *user) words(t *testing.T, line string) []string {
	t.Helper()
	line = strings.ReplaceAll(strings.TrimSpace(line), "$LEASE", u.lease)
	var words []string
	var word strings.Builder
	var quote rune
	open := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, open = r, true
		case quote == 0 && r == ' ':
			if open || word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		default:
			word.WriteRune(r)
		}
	}
	if quote != 0 {
		t.Fatalf("unfinished quote in %q", line)
	}
	if open || word.Len() > 0 {
		words = append(words, word.String())
	}
	return words
}
