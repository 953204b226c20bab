package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// secure is what the client commands show servers and demand of them.
type secure struct {
	caFile, certFile, keyFile string
	trustAnybody              bool
	user                      string
}

func (s *secure) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.caFile, "cacert", "", "authorities whose certificates servers may show, a file in PEM")
	f.StringVar(&s.certFile, "cert", "", "certificate to show servers, a file in PEM")
	f.StringVar(&s.keyFile, "key", "", "the certificate's key, a file in PEM")
	f.BoolVar(&s.trustAnybody, "insecure-skip-tls-verify", false, "take any certificate that a server shows")
	f.StringVar(&s.user, "user", "", "NAME:PASSWORD of the user to act as")
}

// config is the TLS that the flags ask for; nil where they ask for nothing.
func (s *secure) config() (*tls.Config, error) {
	if s.caFile == "" && s.certFile == "" && s.keyFile == "" && !s.trustAnybody {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.trustAnybody} //nolint:gosec // it was asked for by name
	if s.caFile != "" {
		text, err := os.ReadFile(s.caFile)
		if err != nil {
			return nil, misuse("read --cacert: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, misuse("--cacert %s holds no certificate in PEM", s.caFile)
		}
	}
	if (s.certFile == "") != (s.keyFile == "") {
		return nil, misuse("--cert and --key go together")
	}
	if s.certFile != "" {
		pair, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
		if err != nil {
			return nil, misuse("read --cert and --key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// handshake explains why no address that is to speak TLS does so; nil when one does, or when none is to.
func (x *connection) handshake() error {
	security, err := x.secure.config()
	if err != nil {
		return err
	}
	var failed error
	for _, e := range x.endpoints {
		network, addr := address(e)
		if !strings.HasPrefix(e, "https://") && !strings.HasPrefix(e, "unixs:") && (security == nil || strings.Contains(e, "://")) {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		conn, err := (&tls.Dialer{Config: security}).DialContext(ctx, network, addr)
		cancel()
		if err == nil {
			_ = conn.Close()
			return nil
		}
		failed = &failure{fmt.Errorf("cannot talk to %s: %w%s", e, err, hintTLS(err)), exitConnection}
	}
	return failed
}

// login is the name and the password of the user.
func (s *secure) login() (name, password string, err error) {
	if s.user == "" {
		return "", "", nil
	}
	name, password, ok := strings.Cut(s.user, ":")
	if !ok || name == "" {
		return "", "", misuse("--user is NAME:PASSWORD")
	}
	return name, password, nil
}

// environment are the flags that may also stand in the environment: behind KEELSON_ or ETCDCTL_, in capitals.
func environment() []string {
	return []string{"endpoints", "cacert", "cert", "key", "insecure-skip-tls-verify", "user"}
}

// fromEnvironment sets flags that were not given from the environment.
func fromEnvironment(c *cobra.Command, getenv func(string) string) error {
	for _, name := range environment() {
		f := c.Flags().Lookup(name)
		if f == nil || f.Changed {
			continue
		}
		for _, prefix := range []string{"KEELSON_", "ETCDCTL_"} {
			variable := prefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
			value := getenv(variable)
			if value == "" {
				continue
			}
			if err := f.Value.Set(value); err != nil {
				return misuse("%s=%s: %w", variable, value, err)
			}
			break
		}
	}
	return nil
}

// hintTLS says what to do about an error of a handshake.
func hintTLS(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "x509: "):
		return "; name the authority of its certificate with --cacert, or trust it unseen with --insecure-skip-tls-verify"
	case strings.Contains(text, "certificate required"), strings.Contains(text, "bad certificate"):
		return "; it demands a certificate: give one with --cert and --key"
	}
	return "; if it serves TLS, write the address with https://"
}
