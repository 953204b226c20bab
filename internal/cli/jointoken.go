package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	// joinTokenPath is where members give out join tokens on their client ports.
	joinTokenPath = "/keelson/join-token"
	// maxTokenAnswer is the largest answer that is read there, in bytes.
	maxTokenAnswer = 64 << 10
)

// joinToken is a member's answer.
type joinToken struct {
	Token   string    `json:"token"`
	Join    []string  `json:"join"`
	Expires time.Time `json:"expires"`
}

func joinTokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "join-token",
		Short: "Ask a member for a token with which another server can join the cluster",
		Long: "Ask a member for a token with which another server can join the cluster. It is good for a quarter of an hour, at the\n" +
			"member that gave it out, and names that member's certificate. Where users are on only root gets one.",
		Example: "  TOKEN=$(keelson join-token --endpoints https://10.0.0.1:2379)\n" +
			"  keelson join https://10.0.0.1:2380 --join-token $TOKEN --name n2",
		Args: arguments(0, 0),
	}
	return connected(c, func(ctx context.Context, x *connection, _ []string) error {
		var failed error
		for _, endpoint := range x.endpoints {
			t, err := x.askToken(ctx, endpoint)
			if err == nil {
				return x.out.token(t)
			}
			failed = err
		}
		return failed
	})
}

// askToken asks one member.
func (x *connection) askToken(ctx context.Context, endpoint string) (*joinToken, error) {
	alone := *x
	alone.endpoints = []string{endpoint}
	ctx, cancel, err := alone.request(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	client, base, err := x.web(endpoint)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+joinTokenPath, nil)
	if err != nil {
		return nil, misuse("cannot use --endpoints %s: %w", endpoint, err)
	}
	if name, password, err := x.secure.login(); err != nil {
		return nil, err
	} else if name != "" {
		login, err := x.client.Authenticate(ctx, name, password)
		if err != nil {
			return nil, alone.explain(err)
		}
		r.Header.Set("Authorization", login.Token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, &failure{fmt.Errorf("ask %s for a join token: %w%s", endpoint, err, hintTLS(err)), exitConnection}
	}
	defer answer.Body.Close()
	return readToken(endpoint, answer)
}

func readToken(endpoint string, answer *http.Response) (*joinToken, error) {
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxTokenAnswer))
	if err != nil {
		return nil, fmt.Errorf("ask %s for a join token: %w%s", endpoint, err, hintTLS(err))
	}
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return nil, fmt.Errorf("%s gives out no join tokens: is that the client port of a member of Keelson?", endpoint)
	case http.StatusForbidden:
		return nil, fmt.Errorf("%s refuses a join token: %s; users are on, and who asks must be root: give --user root:PASSWORD", endpoint, strings.TrimSpace(string(body)))
	default:
		return nil, fmt.Errorf("%s refuses a join token: %s", endpoint, strings.TrimSpace(string(body)))
	}
	t := new(joinToken)
	if err := json.Unmarshal(body, t); err != nil || t.Token == "" {
		return nil, fmt.Errorf("%s answers something else than a join token: is that the client port of a member of Keelson?", endpoint)
	}
	return t, nil
}

// web is a client for HTTP at an endpoint, and the URL to begin with.
func (x *connection) web(endpoint string) (*http.Client, string, error) {
	security, err := x.secure.config()
	if err != nil {
		return nil, "", err
	}
	network, addr := address(endpoint)
	scheme := "http"
	secret := strings.HasPrefix(endpoint, "https://") || strings.HasPrefix(endpoint, "unixs:")
	if secret || security != nil && !strings.Contains(endpoint, "://") {
		scheme = "https"
	}
	t := &http.Transport{TLSClientConfig: security}
	base := scheme + "://" + addr
	if network == "unix" {
		base = scheme + "://localhost"
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
	return &http.Client{Transport: t}, base, nil
}

// token prints the token alone, so that a shell can take it.
func (p *simplePrinter) token(t *joinToken) error {
	var b strings.Builder
	fmt.Fprintln(&b, t.Token)
	return p.flush(&b)
}

func (p *jsonPrinter) token(t *joinToken) error { return p.print(t) }
