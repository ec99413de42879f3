package bridge

import (
	"net"
	"sync"
)

// line is a listener whose connections can be cut, and which then refuses new ones until it is
// mended: an upstream that is away. The mutex guards all fields.
type line struct {
	net.Listener

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	down  bool
}

func (l *line) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		if l.down {
			l.mu.Unlock()
			conn.Close()
			continue
		}
		if l.conns == nil {
			l.conns = make(map[net.Conn]struct{})
		}
		l.conns[conn] = struct{}{}
		l.mu.Unlock()
		return conn, nil
	}
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for conn := range l.conns {
		conn.Close()
	}
	clear(l.conns)
}

func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
