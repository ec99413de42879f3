//go:build !linux

package engineio

import (
	"net"
	"syscall"
)

// poller would wait for readiness; here every websocket has a goroutine that reads.
type poller struct{}

func (*poller) close() {}

func (*link) watch() bool { return false }

func (*link) unwatch() {}

func rawConn(net.Conn) syscall.RawConn { return nil }

func (*lease) bind() {}

// readTask is only there for links whose reading can be resumed by a worker.
type readTask link

func (*readTask) run() {}
