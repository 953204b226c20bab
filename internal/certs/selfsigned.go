package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	// serialBits is the size of a serial number in bits.
	serialBits = 128
	// maxValidityYears is the longest validity in years; a certificate's dates end with the year 9999.
	maxValidityYears = 1000
)

// ErrValidity refuses a validity of no years.
var ErrValidity = errors.New("selfSignedCertValidity is invalid,it should be greater than 0")

// SelfSigned returns a certificate and its key that the server made for itself in dir: those of an earlier
// start, or new ones for the hosts, valid for so many years, when there are none or they have expired.
func SelfSigned(dir string, hosts []string, years uint, log *slog.Logger) (certFile, keyFile string, err error) {
	if years == 0 || years > maxValidityYears {
		return "", "", ErrValidity
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if pair, err := tls.LoadX509KeyPair(certFile, keyFile); err == nil && time.Now().Before(pair.Leaf.NotAfter) {
		return certFile, keyFile, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	cert, key, err := selfSign(hosts, time.Now(), years)
	if err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	// The key first: a start that finds one of the two alone makes both again.
	if err := errors.Join(replaceFile(keyFile, "EC PRIVATE KEY", key), replaceFile(certFile, "CERTIFICATE", cert)); err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	log.Warn("made a certificate that nobody vouches for: who connects cannot tell this server from another one", "file", certFile, "years", years)
	return certFile, keyFile, nil
}

// selfSign makes a certificate and a key, both in DER.
func selfSign(hosts []string, now time.Time, years uint) (cert, key []byte, err error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), serialBits))
	if err != nil {
		return nil, nil, err
	}
	template := x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Keelson"}},
		NotBefore:             now,
		NotAfter:              now.AddDate(int(years), 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that a client can be told to trust exactly this one
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if cert, err = x509.CreateCertificate(rand.Reader, &template, &template, &private.PublicKey, private); err != nil {
		return nil, nil, err
	}
	key, err = x509.MarshalECPrivateKey(private)
	return cert, key, err
}

// replaceFile writes a PEM file under another name first, so that nobody ever reads half of it.
func replaceFile(path, kind string, der []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
