package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	stdlog "log"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/rs/zerolog"
)

// Limits of every HTTP server here. There is no timeout for a whole request:
// a long poll waits for what there is to say.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 32 << 10 // as much as nginx takes, and twice as much as Node
)

// listen opens the port. flag is the one that would choose another.
func listen(addr, flag string) (net.Listener, error) {
	listener, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf(
			"the port of %s is in use by another program; stop that, or choose another with %s",
			addr,
			flag,
		)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return listener, nil
}

// endpoint is one HTTP server on an open port.
type endpoint struct {
	listener net.Listener
	handler  http.Handler
	tls      *tls.Config // nil without TLS
	drain    time.Duration
	log      zerolog.Logger
}

// serve answers requests until ctx ends, then waits for those in flight, at
// most drain long, and cuts off the rest. It closes the listener and returns nil
// unless serving itself failed.
func (e *endpoint) serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           e.handler,
		TLSConfig:         e.tls,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          stdlog.New(warner{e.log}, "", 0),
	}
	failed := make(chan error, 1)
	go func() {
		if e.tls != nil {
			failed <- server.ServeTLS(e.listener, "", "")
		} else {
			failed <- server.Serve(e.listener)
		}
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", e.listener.Addr(), err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.drain)
	defer cancel()
	if server.Shutdown(shutdown) != nil {
		_ = server.Close() // all that can fail is a listener closed already
	}
	<-failed
	return nil
}

// together runs the parts at once. The first to return ends the others'
// context; together returns when all have, with the first error.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wait sync.WaitGroup
	var once sync.Once
	var first error
	for _, part := range parts {
		wait.Go(func() {
			defer cancel()
			if err := part(ctx); err != nil {
				once.Do(func() { first = err })
			}
		})
	}
	wait.Wait()
	return first
}
