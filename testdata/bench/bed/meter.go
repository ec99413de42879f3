package bed

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Meter is a TCP proxy on loopback that counts the bytes it passes on. Its goroutines are one that
// accepts and two for each connection; Close ends them and waits.
type Meter struct {
	target   string
	seen     func(piece []byte) // of what comes from the target, before it goes on; may be nil
	listener net.Listener
	running  sync.WaitGroup
	up, down atomic.Int64 // bytes to the target and from it

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

// OpenMeter opens one in front of host:port. seen is shown each piece that comes from there before
// it is passed on, by any goroutine; it may be nil.
func OpenMeter(target string, seen func(piece []byte)) (*Meter, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &Meter{target: target, seen: seen, listener: listener, conns: make(map[net.Conn]struct{})}
	m.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			m.running.Go(func() { m.carry(conn) })
		}
	})
	return m, nil
}

// Address is host:port where the meter is reached.
func (m *Meter) Address() string { return m.listener.Addr().String() }

// URL is where the meter is reached.
func (m *Meter) URL() string { return "http://" + m.listener.Addr().String() }

// Bytes passed on until now, in both directions.
func (m *Meter) Bytes() int64 { return m.up.Load() + m.down.Load() }

func (m *Meter) carry(client net.Conn) {
	target, err := net.Dial("tcp", m.target)
	if err != nil {
		_ = client.Close()
		return
	}
	m.mu.Lock()
	m.conns[client], m.conns[target] = struct{}{}, struct{}{}
	m.mu.Unlock()
	end := func() {
		_ = client.Close() // either may be closed already
		_ = target.Close()
	}
	var both sync.WaitGroup
	both.Go(func() { defer end(); count(target, client, &m.up, nil) })
	both.Go(func() { defer end(); count(client, target, &m.down, m.seen) })
	both.Wait()
	m.mu.Lock()
	delete(m.conns, client)
	delete(m.conns, target)
	m.mu.Unlock()
}

func count(to io.Writer, from io.Reader, bytes *atomic.Int64, seen func([]byte)) {
	piece := make([]byte, 16<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			bytes.Add(int64(n))
			if seen != nil {
				seen(piece[:n])
			}
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// Close ends the meter and all that passes.
func (m *Meter) Close() {
	_ = m.listener.Close() // once
	m.mu.Lock()
	for conn := range m.conns {
		_ = conn.Close()
	}
	m.mu.Unlock()
	m.running.Wait()
}
