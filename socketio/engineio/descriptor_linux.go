package engineio

import (
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// descriptor is a socket that was taken out of the hands of Go's runtime: the poller watches it,
// and what the runtime keeps for a connection (its poll descriptor, a net.Conn with both addresses)
// is not needed. It is closed when its owner has discarded it and nobody is in a call on it any
// more, so that no call can meet another connection that got the same number.
type descriptor struct {
	n     int32        // immutable once the link is adopted
	users atomic.Int32 // calls in progress, and one more until it is discarded; 0 when closed
}

// adopt gives the connection that was hijacked to the link: its descriptor if there is nothing
// above that, such as TLS.
func (l *link) adopt(nc net.Conn) error {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		l.nc, l.unpark = nc, make(chan struct{}, 1)
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var dupErr error
	err = raw.Control(func(fd uintptr) { n, dupErr = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(err, dupErr); err != nil {
		return err
	}
	l.fd.n = int32(n)
	l.fd.users.Store(1)
	_ = nc.Close() // the socket stays open by the duplicate
	return nil
}

// acquire begins a call. It returns false if the descriptor is closed.
func (d *descriptor) acquire() bool {
	for {
		n := d.users.Load()
		if n == 0 {
			return false
		}
		if d.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release ends a call, or the owner's hold.
func (d *descriptor) release() {
	if d.users.Add(-1) == 0 {
		_ = unix.Close(int(d.n)) // nothing can be done about an error
	}
}

// quickSize is how many bytes are handed to the kernel, or taken from it, without telling Go's
// scheduler: a call on a socket that never waits is too short for that, which would cost a fifth of
// it and, on a busy machine, the processor.
const quickSize = 64 << 10

// call makes one system call that doesn't wait, for the bytes p.
func (d *descriptor) call(trap uintptr, p []byte, flags uintptr) (int, error) {
	if !d.acquire() {
		return 0, net.ErrClosed
	}
	defer d.release()
	for {
		var n uintptr
		var errno syscall.Errno
		if len(p) <= quickSize {
			n, _, errno = syscall.RawSyscall6(
				trap,
				uintptr(d.n),
				uintptr(unsafe.Pointer(unsafe.SliceData(p))),
				uintptr(len(p)),
				flags,
				0,
				0,
			)
		} else {
			n, _, errno = syscall.Syscall6(trap, uintptr(d.n), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
				flags, 0, 0)
		}
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// recv reads what has come, and returns EAGAIN if that is nothing, and [io.EOF] at the end.
func (d *descriptor) recv(p []byte) (int, error) {
	n, err := d.call(unix.SYS_RECVFROM, p, unix.MSG_DONTWAIT)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// write writes to the socket: as much as it takes at once, with EAGAIN if that is nothing, or
// everything where writes block.
func (l *link) write(p []byte) (int, error) {
	if l.nc != nil {
		return l.nc.Write(p)
	}
	return l.fd.call(unix.SYS_SENDTO, p, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

// closeWrite tells the peer that nothing more comes.
func (l *link) closeWrite() {
	if l.nc != nil {
		closeWrite(l.nc)
	} else if l.fd.acquire() {
		_ = unix.Shutdown(int(l.fd.n), unix.SHUT_WR) // it has gone already, or will be found to have
		l.fd.release()
	}
}

// reset has what the peer has not taken forgotten when the socket is closed.
func (l *link) reset() {
	if l.nc == nil && l.fd.acquire() {
		_ = unix.SetsockoptLinger(int(l.fd.n), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		l.fd.release()
	}
}

// discard gives the connection up. It must be called once, and the link not be watched any more.
func (l *link) discard() {
	if l.nc != nil {
		_ = l.nc.Close() // nothing is left to do about an error
	} else {
		l.fd.release()
	}
}
