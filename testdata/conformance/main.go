// Command conformance serves what the official test suites of Engine.IO and Socket.IO expect of a
// server, and the events that the load generator of this project sends.
//
//	conformance -engineio 127.0.0.1:3000    engine.io-protocol v4: echoes every message
//	conformance -engineio3 127.0.0.1:3003   engine.io-protocol v3
//	conformance -socketio 127.0.0.1:3000    socket.io-protocol v5
//	conformance -client 127.0.0.1:3210      the test server of the socket.io-client package
//	conformance -node 127.0.0.1:3211       what the tests of this project with the npm client expect
//	conformance -bench 127.0.0.1:3001       join, publish and echo; with -csr it recovers connections
//
// Several flags may be given at once. It stops on an interrupt.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// closer is what both kinds of server have.
type closer interface {
	http.Handler
	Close()
}

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("conformance", flag.ContinueOnError)
	engine := fs.String("engineio", "", "address of the Engine.IO echo server")
	engine3 := fs.String("engineio3", "", "address of the Engine.IO echo server for version 3")
	socket := fs.String("socketio", "", "address of the Socket.IO protocol server")
	client := fs.String("client", "", "address of the client library's test server")
	node := fs.String("node", "", "address of the server for the project's own tests with the npm client")
	bench := fs.String("bench", "", "address of the server for load tests")
	csr := fs.Bool("csr", false, "have the server for load tests recover connections")
	if err := fs.Parse(args); err != nil {
		return err
	}
	interrupted := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan struct{}, 6)
	n := 0
	for _, s := range []struct {
		addr string
		make func() closer
	}{
		{*engine, func() closer { return engineServer(false) }},
		{*engine3, func() closer { return engineServer(true) }},
		{*socket, protocolServer},
		{*client, clientServer},
		{*node, nodeServer},
		{*bench, func() closer { return benchServer(*csr) }},
	} {
		if s.addr == "" {
			continue
		}
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			return err
		}
		n++
		go func() {
			cancel(serve(ctx, l, s.make()))
			done <- struct{}{}
		}()
	}
	if n == 0 {
		return fmt.Errorf("no address given")
	}
	for range n {
		<-done
	}
	if err := context.Cause(ctx); interrupted.Err() == nil && ctx.Err() != err {
		return err
	}
	return nil
}

// serve runs one server until ctx ends.
func serve(ctx context.Context, l net.Listener, c closer) error {
	defer c.Close()
	srv := &http.Server{Handler: c}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}
