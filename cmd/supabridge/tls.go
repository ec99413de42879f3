package main

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/supabridge/supabridge/config"
)

// certificate is what the main port shows its clients: a pair of files that may be renewed, or one that an authority gives.
type certificate struct {
	from      config.TLS
	pair      atomic.Pointer[tls.Certificate]
	authority *autocert.Manager // nil for files
}

// openCertificate reads what tls names; nil means no TLS. An authority is not asked before a client comes.
func openCertificate(from config.TLS) (*certificate, error) {
	c := &certificate{from: from}
	switch {
	case len(from.ACME.Domains) > 0:
		c.authority = &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(from.ACME.Cache), HostPolicy: autocert.HostWhitelist(from.ACME.Domains...), Email: from.ACME.Email,
		}
		if from.ACME.Directory != "" {
			c.authority.Client = &acme.Client{DirectoryURL: from.ACME.Directory}
		}
	case from.CertFile != "":
		if err := c.load(); err != nil {
			return nil, misuse{err}
		}
	default:
		return nil, nil
	}
	return c, nil
}

// files are those it is read from.
func (c *certificate) files() []string {
	if c == nil || c.authority != nil {
		return nil
	}
	return []string{c.from.CertFile, c.from.KeyFile}
}

// load reads the files. Where they can't be used the pair before stays.
func (c *certificate) load() error {
	pair, err := tls.LoadX509KeyPair(c.from.CertFile, c.from.KeyFile)
	if err != nil {
		return fmt.Errorf("certificate of tls.cert_file and tls.key_file: %w", err)
	}
	c.pair.Store(&pair)
	return nil
}

// config is for a server; nil without TLS.
func (c *certificate) config() *tls.Config {
	switch {
	case c == nil:
		return nil
	case c.authority != nil:
		made := c.authority.TLSConfig()
		made.MinVersion = tls.VersionTLS12
		return made
	default:
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil }}
	}
}
