package certs

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
)

// How revocation is decided, and why so.
//
// A serial number names a certificate only together with its issuer, and a list says something only if that
// issuer's key signed it. So a certificate is revoked if a list names its serial, the list's issuer is the
// certificate's issuer, and the key of the issuer that the verified chain goes through has signed the list.
// Equal serials of other issuers neither revoke nor hide one another: each list has a set of its own.
//
// Every certificate of every verified chain is asked about, intermediates too, and one that is revoked
// refuses the connection even when another chain would do without it.
//
// A list whose date has passed stays in force. Refusing everybody because a timer somewhere failed to fetch
// a list would turn a small problem into an outage; the log says that the list is old.

// maxKnownSigners is how many answers to "has this key signed this list?" are remembered.
const maxKnownSigners = 256

// reasonRemoveFromList is the reason of an entry that takes an earlier one back.
const reasonRemoveFromList = 8

// ErrRevoked refuses a client with a certificate that was revoked.
var ErrRevoked = errors.New("the certificate was revoked")

// Extensions of lists, and what is wrong with lists.
var (
	oidDeltaIndicator      = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidDistributionPoint   = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidAuthorityKey        = asn1.ObjectIdentifier{2, 5, 29, 35}
	oidListNumber          = asn1.ObjectIdentifier{2, 5, 29, 20}
	errNoList              = errors.New("the file holds no list of revoked certificates")
	errDeltaList           = errors.New("the list tells only changes to another one: a complete list is needed")
	errIndirectList        = errors.New("the list speaks for several authorities: one list for each is needed")
	errUnknownInList       = errors.New("the list has a critical extension that is not understood")
	errListOfSomebodyElses = errors.New("the list carries the name of a trusted authority and was not signed by it")
)

// revocations are the lists of one file. They do not change; known is a cache.
type revocations struct {
	lists   []*x509.RevocationList
	serials []map[string]struct{} // by list: the revoked serials, as big-endian bytes

	mu    sync.Mutex
	known map[signer]bool // whether the key has signed the list
}

type signer struct {
	list int
	key  string // the issuer's public key
}

// parseRevocations reads the lists of a file. A list that carries the name of a trusted authority must be
// signed by one of that name. One of an authority that is not in the bundle can only be checked when a
// client shows a chain through that authority.
func parseRevocations(data []byte, trusted []*x509.Certificate) (*revocations, error) {
	r := &revocations{known: map[signer]bool{}}
	if err := r.parseAll(data); err != nil {
		return nil, err
	}
	for i, list := range r.lists {
		named, signed := false, false
		for _, authority := range trusted {
			if issuedBy(list, authority) {
				named = true
				signed = signed || r.signedBy(i, authority)
			}
		}
		if named && !signed {
			return nil, fmt.Errorf("%w (%s)", errListOfSomebodyElses, list.Issuer)
		}
	}
	return r, nil
}

func (r *revocations) parseAll(data []byte) error {
	block, rest := pem.Decode(data)
	if block == nil {
		return r.parseOne(data)
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		if err := r.parseOne(block.Bytes); err != nil {
			return err
		}
	}
	if len(r.lists) == 0 {
		return errNoList
	}
	return nil
}

func (r *revocations) parseOne(der []byte) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoList, err)
	}
	if err := checkExtensions(list.Extensions); err != nil {
		return err
	}
	serials := make(map[string]struct{}, len(list.RevokedCertificateEntries))
	for _, entry := range list.RevokedCertificateEntries {
		for _, e := range entry.Extensions {
			if e.Critical {
				return errIndirectList // no other extension of an entry is critical
			}
		}
		if entry.ReasonCode != reasonRemoveFromList {
			serials[string(entry.SerialNumber.Bytes())] = struct{}{}
		}
	}
	r.lists, r.serials = append(r.lists, list), append(r.serials, serials)
	return nil
}

// checkExtensions refuses lists that mean something else than they seem to.
func checkExtensions(extensions []pkix.Extension) error {
	for _, e := range extensions {
		switch {
		case e.Id.Equal(oidDeltaIndicator):
			return errDeltaList
		case e.Id.Equal(oidDistributionPoint):
			var point struct {
				Name       asn1.RawValue  `asn1:"optional,tag:0"`
				Users      bool           `asn1:"optional,tag:1"`
				CAs        bool           `asn1:"optional,tag:2"`
				Reasons    asn1.BitString `asn1:"optional,tag:3"`
				Indirect   bool           `asn1:"optional,tag:4"`
				Attributes bool           `asn1:"optional,tag:5"`
			}
			if _, err := asn1.Unmarshal(e.Value, &point); err != nil {
				return fmt.Errorf("%w: %w", errUnknownInList, err)
			}
			if point.Indirect {
				return errIndirectList
			}
		case e.Id.Equal(oidAuthorityKey), e.Id.Equal(oidListNumber):
		case e.Critical:
			return fmt.Errorf("%w (%s)", errUnknownInList, e.Id)
		}
	}
	return nil
}

// check refuses chains that hold a revoked certificate.
func (r *revocations) check(chains [][]*x509.Certificate, trusted []*x509.Certificate) error {
	for _, chain := range chains {
		for i, cert := range chain {
			issuers := trusted
			if i+1 < len(chain) {
				issuers = chain[i+1 : i+2]
			}
			if r.revokes(cert, issuers) {
				return fmt.Errorf("%w: serial %x of %s", ErrRevoked, cert.SerialNumber.Bytes(), cert.Issuer)
			}
		}
	}
	return nil
}

// revokes reports whether a list of one of the issuers names the certificate.
func (r *revocations) revokes(cert *x509.Certificate, issuers []*x509.Certificate) bool {
	for i, list := range r.lists {
		if _, named := r.serials[i][string(cert.SerialNumber.Bytes())]; !named {
			continue
		}
		for _, issuer := range issuers {
			if bytes.Equal(issuer.RawSubject, cert.RawIssuer) && issuedBy(list, issuer) && r.signedBy(i, issuer) {
				return true
			}
		}
	}
	return false
}

// issuedBy reports whether a list carries the authority's name. Tools may spell one name as different kinds of
// strings, so what it says counts too; the signature decides in any case.
func issuedBy(list *x509.RevocationList, authority *x509.Certificate) bool {
	return bytes.Equal(list.RawIssuer, authority.RawSubject) || list.Issuer.String() == authority.Subject.String()
}

// signedBy reports whether the authority's key has signed the list. The authority need not be marked as a
// signer of lists: many private ones are not, and the key is the same.
func (r *revocations) signedBy(i int, authority *x509.Certificate) bool {
	s := signer{i, string(authority.RawSubjectPublicKeyInfo)}
	r.mu.Lock()
	signed, known := r.known[s]
	r.mu.Unlock()
	if known {
		return signed
	}
	list := r.lists[i]
	signed = authority.CheckSignature(list.SignatureAlgorithm, list.RawTBSRevocationList, list.Signature) == nil
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) < maxKnownSigners {
		r.known[s] = signed
	}
	return signed
}
