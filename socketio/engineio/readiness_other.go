//go:build !linux

package engineio

import "net"

// descriptor would be a socket that is watched for readiness; here every websocket has a goroutine
// that reads.
type descriptor struct{}

type poller struct{}

func (*poller) close() {}

func (l *link) adopt(nc net.Conn) error {
	l.nc, l.unpark = nc, make(chan struct{}, 1)
	return nil
}

func (*link) watch() bool { return false }

func (*link) unwatch() {}

func (l *link) write(p []byte) (int, error) { return l.nc.Write(p) }

func (l *link) closeWrite() { closeWrite(l.nc) }

func (*link) reset() {}

func (l *link) discard() { _ = l.nc.Close() } // nothing is left to do about an error

// readTask is only there for links whose reading can be resumed by a worker.
type readTask link

func (*readTask) run() {}
