package main

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/supabridge/supabridge/config"
)

// certificate is what the main port shows its clients: what an authority gives for the names it is
// asked for, and a pair of files, which may be renewed, for all others.
type certificate struct {
	from      config.TLS
	pair      atomic.Pointer[tls.Certificate] // nil without files
	authority *autocert.Manager               // nil without
}

// openCertificate reads what tls names; nil means no TLS. An authority is not asked before a client
// comes.
func openCertificate(from config.TLS) (*certificate, error) {
	if from.CertFile == "" && len(from.ACME.Domains) == 0 {
		return nil, nil
	}
	c := &certificate{from: from}
	if len(from.ACME.Domains) > 0 {
		c.authority = &autocert.Manager{
			Prompt: autocert.AcceptTOS, Cache: autocert.DirCache(from.ACME.Cache),
			HostPolicy: autocert.HostWhitelist(from.ACME.Domains...), Email: from.ACME.Email,
		}
		if from.ACME.Directory != "" {
			c.authority.Client = &acme.Client{DirectoryURL: from.ACME.Directory}
		}
	}
	if from.CertFile != "" {
		if err := c.load(); err != nil {
			return nil, misuse{err}
		}
	}
	return c, nil
}

// files are those it is read from.
func (c *certificate) files() []string {
	if c == nil || c.from.CertFile == "" {
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
	if c == nil {
		return nil
	}
	made := &tls.Config{}
	if c.authority != nil {
		made = c.authority.TLSConfig()
	}
	made.MinVersion, made.GetCertificate = tls.VersionTLS12, c.get
	return made
}

// get chooses by the name that a client asks for.
func (c *certificate) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	pair := c.pair.Load()
	if c.authority != nil && (pair == nil || c.authority.HostPolicy(hello.Context(), hello.ServerName) == nil) {
		return c.authority.GetCertificate(hello)
	}
	return pair, nil
}
