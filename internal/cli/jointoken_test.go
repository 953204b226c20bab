package cli

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestAJoinTokenIsPrintedAloneOrWithWhatItIsGoodFor(t *testing.T) {
	plain := httptest.NewServer(tokens{t})
	defer plain.Close()
	conversation{
		{"join-token", 0, "k1.a.b\n"},
		{"join-token -o json", 0, `{"token":"k1.a.b","join":["https://m1:2380"],"expires":"2026-01-02T03:04:05Z"}` + "\n"},
	}.check(t, "127.0.0.1:1,"+plain.Listener.Addr().String())

	secret := httptest.NewTLSServer(tokens{t})
	defer secret.Close()
	ca := filepath.Join(t.TempDir(), "ca.crt")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secret.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	conversation{
		{"join-token", exitConnection, "--cacert"},
		{"join-token --cacert " + ca, 0, "k1.a.b\n"},
		{"join-token --insecure-skip-tls-verify", 0, "k1.a.b\n"},
	}.check(t, secret.URL)
	conversation{
		{"get a --timeout 500ms", exitConnection, "name the authority of its certificate with --cacert"},
		{"get a --timeout 500ms --cacert " + ca, exitConnection, ""},
	}.check(t, secret.URL)
	conversation{{"join-token --insecure-skip-tls-verify", 0, "k1.a.b\n"}}.check(t, secret.Listener.Addr().String())
}

func TestWhoGivesOutNoTokenIsExplained(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"another server": {http.NotFound, "is that the client port of a member of Keelson?"},
		"not root":       {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }, "--user root:PASSWORD"},
		"too many":       {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "too many", http.StatusTooManyRequests) }, "refuses a join token: too many"},
		"nonsense":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "something else"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.handler)
			defer s.Close()
			conversation{{"join-token", exitError, c.says}}.check(t, s.URL)
		})
	}
	conversation{{"join-token", exitConnection, "nothing answers at"}}.check(t, "127.0.0.1:1")
}

func TestJoiningIsStartingAServer(t *testing.T) {
	for _, c := range []struct {
		args, flags []string
	}{
		{[]string{"join", "a:1,b:2", "--name", "x"}, []string{"--join=a:1,b:2", "--name", "x"}},
		{[]string{"join", "a:1", "b:2", "c:3,d:4", "--name", "x"}, []string{"--join=a:1,b:2,c:3,d:4", "--name", "x"}},
		{[]string{"join", "https://a:1"}, []string{"--join=https://a:1"}},
		{[]string{"join"}, nil},
		{[]string{"join", "--name", "x"}, nil},
		{[]string{"put", "a"}, nil},
		{nil, nil},
	} {
		flags, ok := Joins(c.args)
		if ok != (c.flags != nil) || !slices.Equal(flags, c.flags) {
			t.Errorf("%q are flags %q, %v", c.args, flags, ok)
		}
	}
	for line, want := range map[string]int{"join": 0, "join --help": 0, "join --name x": exitArguments} {
		if code, out, errs := call(t, line, ""); code != want || (code == 0) != (out != "") {
			t.Errorf("keelson %s: exit %d\n%s%s", line, code, out, errs)
		}
	}
}
