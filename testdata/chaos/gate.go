package main

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// gate is a TCP proxy on loopback that can be disturbed as a network is. What it passes on it
// passes unread, in order.
//
// Its goroutines are one that accepts and two for each connection; close ends them and waits.
type gate struct {
	target   string
	listener net.Listener
	wg       sync.WaitGroup

	mu      sync.Mutex // guards what follows
	closed  bool
	refuses bool
	frozen  chan struct{} // closed on thawing; nil while bytes pass
	pace    pace
	conns   map[*passage]struct{}
}

// pace slows what comes from the target down to a piece of at most size bytes every wait. Zero is
// full speed.
type pace struct {
	size int
	wait time.Duration
}

// passage is one connection through a gate. Its fields never change.
type passage struct {
	client net.Conn
	over   context.Context
	end    context.CancelFunc
}

// pieceSize is how much a gate reads at once.
const pieceSize = 16 << 10

// openGate listens on a free port and passes on to the target.
func openGate(target string) (*gate, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{target: target, listener: listener, conns: make(map[*passage]struct{})}
	g.wg.Go(g.accept)
	return g, nil
}

func (g *gate) address() string { return g.listener.Addr().String() }

func (g *gate) accept() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		p := &passage{client: conn}
		p.over, p.end = context.WithCancel(context.Background())
		g.mu.Lock()
		refused := g.closed || g.refuses
		if !refused {
			g.conns[p] = struct{}{}
			g.wg.Go(func() { g.carry(p) })
		}
		g.mu.Unlock()
		if refused {
			p.end()
			reset(conn)
		}
	}
}

// carry passes a connection on until either side ends it. A frozen gate doesn't dial: the client's
// bytes are taken by the kernel and answered by nobody.
func (g *gate) carry(p *passage) {
	defer func() {
		p.end()
		reset(p.client)
		g.mu.Lock()
		delete(g.conns, p)
		g.mu.Unlock()
	}()
	if !g.await(p) {
		return
	}
	target, err := (&net.Dialer{}).DialContext(p.over, "tcp", g.target)
	if err != nil {
		return
	}
	stop := context.AfterFunc(p.over, func() {
		reset(p.client)
		reset(target)
	})
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { g.copy(p, target, p.client, false) })
	both.Go(func() { g.copy(p, p.client, target, true) })
	both.Wait()
	_ = target.Close() // it may be closed already
}

// copy passes one direction on. Its end is the end of both.
func (g *gate) copy(p *passage, to io.Writer, from io.Reader, paced bool) {
	defer p.end()
	piece := make([]byte, pieceSize)
	for {
		size, wait := pieceSize, time.Duration(0)
		if paced {
			g.mu.Lock()
			if g.pace.size > 0 {
				size, wait = min(size, g.pace.size), g.pace.wait
			}
			g.mu.Unlock()
		}
		n, err := from.Read(piece[:size])
		if n > 0 && (!g.await(p) || wait > 0 && pause(p.over, wait) != nil) {
			return
		}
		if n > 0 {
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// await returns when bytes may pass, false where the connection ended before.
func (g *gate) await(p *passage) bool {
	for {
		g.mu.Lock()
		frozen := g.frozen
		g.mu.Unlock()
		if frozen == nil {
			return p.over.Err() == nil
		}
		select {
		case <-frozen:
		case <-p.over.Done():
			return false
		}
	}
}

// cut ends every connection that there is.
func (g *gate) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for p := range g.conns {
		p.end()
		reset(p.client)
	}
}

// refuse has new connections reset, or no longer.
func (g *gate) refuse(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuses = on
}

// freeze stops every byte, of connections to come too, and loses none: a black hole, as long as it
// lasts.
func (g *gate) freeze() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen == nil {
		g.frozen = make(chan struct{})
	}
}

// thaw lets them pass again.
func (g *gate) thaw() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.frozen != nil {
		close(g.frozen)
		g.frozen = nil
	}
}

func (g *gate) slow(p pace) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pace = p
}

// heal ends every disturbance.
func (g *gate) heal() {
	g.refuse(false)
	g.slow(pace{})
	g.thaw()
}

// close ends the gate and all that passes.
func (g *gate) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	_ = g.listener.Close() // it is closed once
	g.heal()
	g.cut()
	g.wg.Wait()
}

// reset closes a connection with RST, as a middlebox does that has forgotten it.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it may be closed already
	}
	_ = conn.Close()
}

// pause waits, and gives ctx's error where that ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
