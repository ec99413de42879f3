package engineio

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller waits for readiness of all links of a server. The links are registered edge-triggered, once, with an epoll instance
// of its own, which in turn is watched by Go's runtime: so one goroutine waits for all of them, and it occupies no thread.
//
// An edge may tell of what has been read already: the reader finds nothing then and goes back to rest. An edge that comes
// while somebody reads makes that reader look once more. So none is lost.
type poller struct {
	file *os.File // the epoll instance
	raw  syscall.RawConn
	done sync.WaitGroup

	mu    sync.RWMutex // guards links
	links map[int32]*link
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create an epoll instance: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("make the epoll instance pollable: %w", errors.Join(err, unix.Close(fd)))
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll"), links: make(map[int32]*link)}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("watch the epoll instance: %w", errors.Join(err, p.file.Close()))
	}
	p.done.Go(p.wait)
	return p, nil
}

func (p *poller) close() {
	_ = p.file.Close() // ends wait
	p.done.Wait()
}

// wait passes readiness on until the poller is closed.
func (p *poller) wait() {
	events := make([]unix.EpollEvent, 256)
	var tasks []task
	for {
		n := 0
		err := p.raw.Read(func(fd uintptr) bool {
			var err error
			n, err = unix.EpollWait(int(fd), events, 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err != nil {
			return
		}
		var pool *pool
		p.mu.RLock()
		for _, ev := range events[:max(n, 0)] {
			l := p.links[ev.Fd]
			if l == nil {
				continue
			}
			pool = &l.c.srv.pool
			if ev.Events&unix.EPOLLOUT != 0 && l.writable() {
				tasks = append(tasks, (*flushTask)(l))
			}
			if ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
				l.hungUp.Store(true)
			}
			if ev.Events&^unix.EPOLLOUT != 0 && l.wantsReader() {
				tasks = append(tasks, (*readTask)(l))
			}
		}
		p.mu.RUnlock()
		if len(tasks) > 0 {
			pool.submit(tasks...)
			clear(tasks)
			tasks = tasks[:0]
		}
	}
}

// wantsReader notes that there is something to read, and says whether somebody has to be found for that.
func (l *link) wantsReader() bool {
	for {
		if l.role.CompareAndSwap(roleIdle, roleReading) {
			return true
		}
		if l.role.Load() == roleAgain || l.role.CompareAndSwap(roleReading, roleAgain) {
			return false
		}
	}
}

// watch registers the link for readiness. It returns false if that failed: because the link or the server is closed, or for want
// of descriptors.
func (l *link) watch() bool {
	s := l.c.srv
	s.mu.Lock()
	p := s.poller
	if p == nil && !s.stopped {
		var err error
		if p, err = newPoller(); err != nil {
			p = nil
		}
		s.poller = p
	}
	s.mu.Unlock()
	return p != nil && p.add(l)
}

// add registers l. Bytes that came with the handshake have no edge of their own: a reader is sent for those.
func (p *poller) add(l *link) bool {
	early := len(l.bytes) > 0 // from here on they belong to whoever reads
	var ctlErr error
	err := l.raw.Control(func(fd uintptr) {
		l.fd = int(fd)
		p.mu.Lock()
		p.links[int32(fd)] = l
		p.mu.Unlock()
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(fd)}
		var epErr error
		err := p.raw.Control(func(epfd uintptr) { epErr = unix.EpollCtl(int(epfd), unix.EPOLL_CTL_ADD, int(fd), &ev) })
		ctlErr = errors.Join(err, epErr)
	})
	if err != nil || ctlErr != nil {
		return false
	}
	if early && l.wantsReader() {
		l.c.srv.pool.submit((*readTask)(l))
	}
	return true
}

// unwatch takes the link out. Its descriptor must still be open.
func (l *link) unwatch() {
	s := l.c.srv
	s.mu.Lock()
	p := s.poller
	s.mu.Unlock()
	if p == nil || l.raw == nil {
		return
	}
	p.mu.Lock()
	if p.links[int32(l.fd)] == l {
		delete(p.links, int32(l.fd))
	}
	p.mu.Unlock()
}

// rawConn returns what is needed for calls that don't block, or nil where every call goes through a layer such as TLS.
func rawConn(nc net.Conn) syscall.RawConn {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// bind makes the lease's callbacks.
func (b *lease) bind() {
	b.onRead = func(fd uintptr) bool {
		for {
			b.n, b.err = unix.Read(int(fd), b.buf)
			if b.err != unix.EINTR {
				return true
			}
		}
	}
	b.onWrite = func(fd uintptr) bool {
		for {
			b.n, b.err = unix.Write(int(fd), b.buf)
			if b.err != unix.EINTR {
				return true
			}
		}
	}
}

// readTask reads what has come on a link, and has the handler work on it.
type readTask link

func (t *readTask) run() {
	l := (*link)(t)
	b := getLease()
	l.lent = b
	err := l.readReady(b)
	b.release()
	if err != nil {
		l.fail(err)
	}
	l.c.handler.Work()
}

// readReady delivers every message that can be had and then gives the reading role back. After an error it keeps the role.
func (l *link) readReady(b *lease) error {
	l.borrow()
	drained := false
	for {
		for len(l.bytes) > 0 || l.br.Buffered() > 0 {
			mt, data, err := l.next(b)
			if err != nil {
				return err
			}
			if err := l.deliver(mt, data); err != nil {
				return err
			}
			if !l.c.handler.Ready() && l.pause() {
				return nil
			}
		}
		if drained && l.backToRest() {
			return nil
		}
		b.buf = b.input()
		if err := l.raw.Read(b.onRead); err != nil {
			return err
		}
		switch {
		case b.err == unix.EAGAIN:
			l.hungUp.Store(false)
			drained = true
			continue
		case b.err != nil:
			return b.err
		case b.n <= 0:
			return io.EOF
		}
		// A read that did not fill the buffer has emptied the socket: what comes next has an edge of its own. But the peer's
		// end may lie behind these bytes, and has none if it came together with them.
		drained = b.n < len(b.buf) && !l.hungUp.Load()
		l.bytes = b.buf[:b.n]
	}
}

// pause stops reading until the handler is ready, and returns false if it is so already. The role is kept meanwhile.
func (l *link) pause() bool {
	l.bytes = append([]byte(nil), l.bytes...)
	l.lent = nil
	l.paused.Store(true)
	return !l.c.handler.Ready() || !l.paused.CompareAndSwap(true, false)
}

// backToRest gives the reading role back, unless more has come.
func (l *link) backToRest() bool {
	lent := l.lent
	l.lent = nil
	l.giveBack()
	if l.role.CompareAndSwap(roleReading, roleIdle) {
		return true
	}
	l.role.Store(roleReading)
	l.lent = lent
	l.borrow()
	return false
}
