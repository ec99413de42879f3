package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/config"
)

func TestServeWaitsForWhatIsInFlightAndNoLonger(t *testing.T) {
	for _, test := range []struct {
		name     string
		drain    time.Duration
		answered bool
	}{
		{"within the drain", 10 * time.Second, true},
		{"beyond the drain", 20 * time.Millisecond, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			listener, err := listen("127.0.0.1:0", "--listen")
			if err != nil {
				t.Fatal(err)
			}
			arrived, answer := make(chan struct{}), make(chan struct{})
			e := &endpoint{listener: listener, drain: test.drain, log: zerolog.Nop(), handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				select {
				case <-answer:
				case <-r.Context().Done():
				}
			})}
			ctx, cancel := context.WithCancel(t.Context())
			served, got := make(chan error, 1), make(chan error, 1)
			go func() { served <- e.serve(ctx) }()
			go func() {
				response, err := http.Get("http://" + listener.Addr().String())
				if err == nil {
					_, err = io.Copy(io.Discard, response.Body)
					response.Body.Close()
				}
				got <- err
			}()
			<-arrived
			cancel()
			if test.answered {
				close(answer)
			}
			if err := <-got; (err == nil) != test.answered {
				t.Errorf("the request in flight ended with %v, answered should be %t", err, test.answered)
			}
			if err := <-served; err != nil {
				t.Errorf("serve returned %v", err)
			}
			http.DefaultClient.CloseIdleConnections()
		})
	}
}

// newCertificate writes a certificate for 127.0.0.1 that signs itself, and its key.
func newCertificate(t *testing.T) (config.TLS, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := config.TLS{CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{
		files.CertFile: chain, files.KeyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(chain)
	return files, pool
}

func TestServeSpeaksTLSWithTheCertificateOfTheConfiguration(t *testing.T) {
	files, pool := newCertificate(t)
	shown, err := openCertificate(files)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := listen("127.0.0.1:0", "--listen")
	if err != nil {
		t.Fatal(err)
	}
	e := &endpoint{listener: listener, tls: shown.config(), drain: time.Second, log: zerolog.Nop(), handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.TLS != nil)
	})}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- e.serve(ctx) }()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	response, err := client.Get("https://" + listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "true" {
		t.Errorf("answers %q, %v", body, err)
	}
	response.Body.Close()
	client.CloseIdleConnections()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("serve returned %v", err)
	}
}

func TestPortInUseIsSaidPlainly(t *testing.T) {
	first, err := listen("127.0.0.1:0", "--listen")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = listen(first.Addr().String(), "--supabase-listen")
	want := "the port of " + first.Addr().String() + " is in use by another program; stop that, or choose another with --supabase-listen"
	if err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
	if _, err := listen("256.0.0.1:1", "--listen"); err == nil || !strings.Contains(err.Error(), "listen on 256.0.0.1:1") {
		t.Errorf("error is %v, want one that names the address", err)
	}
}

func TestTogetherEndsAllWithTheFirst(t *testing.T) {
	failure := errors.New("failed")
	waits := func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}
	if err := together(t.Context(), waits, func(context.Context) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("together returned %v, want %v", err, failure)
	}
	if err := together(t.Context(), waits, func(context.Context) error { return nil }); err != nil {
		t.Errorf("together returned %v, want nil", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := together(ctx, waits, waits); err != nil {
		t.Errorf("together returned %v, want nil", err)
	}
}
