package certs

import (
	"crypto/tls"
	"fmt"
	"slices"
)

// CipherSuites finds cipher suites by their IANA names, and two by the shorter names that Go once gave them.
// Suites that Go calls insecure are found too; insecure names them.
func CipherSuites(names []string) (ids []uint16, insecure []string, err error) {
	for _, name := range names {
		short := name + "_SHA256"
		byName := func(s *tls.CipherSuite) bool { return s.Name == name }
		byShort := func(s *tls.CipherSuite) bool { return s.Name == short && s.ID&0xff00 == chachaPage }
		if i := slices.IndexFunc(tls.CipherSuites(), byName); i >= 0 {
			ids = append(ids, tls.CipherSuites()[i].ID)
		} else if i := slices.IndexFunc(tls.InsecureCipherSuites(), byName); i >= 0 {
			ids, insecure = append(ids, tls.InsecureCipherSuites()[i].ID), append(insecure, name)
		} else if i := slices.IndexFunc(tls.CipherSuites(), byShort); i >= 0 {
			ids = append(ids, tls.CipherSuites()[i].ID)
		} else {
			return nil, nil, fmt.Errorf("unexpected TLS cipher suite %q", name)
		}
	}
	return ids, insecure, nil
}

// chachaPage is the upper byte that the numbers of the ChaCha20 suites share.
const chachaPage = 0xcc00

// Version finds a TLS version by the name that etcd's flags have for it; "" is 0.
func Version(name string) (uint16, error) {
	switch name {
	case "":
		return 0, nil
	case "TLS1.2":
		return tls.VersionTLS12, nil
	case "TLS1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("unexpected TLS version %q (must be one of: TLS1.2, TLS1.3)", name)
}
