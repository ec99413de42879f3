package engineio

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// poller waits for readiness of all links of a server. The links are registered edge-triggered,
// once, with an epoll instance of its own, which in turn is watched by Go's runtime: so one
// goroutine waits for all of them, and it occupies no thread.
//
// An edge may tell of what has been read already: the reader finds nothing then and goes back to
// rest. An edge that comes while somebody reads makes that reader look once more. So none is lost.
type poller struct {
	file *os.File // the epoll instance
	raw  syscall.RawConn
	done sync.WaitGroup

	mu    sync.RWMutex // guards links
	links []*link      // by descriptor: one of the process's for each slot
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create an epoll instance: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("make the epoll instance pollable: %w", errors.Join(err, unix.Close(fd)))
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll")}
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
			l := p.link(ev.Fd)
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

// link returns the link that a descriptor belongs to, or nil. The caller holds mu, for reading at
// least.
func (p *poller) link(fd int32) *link {
	if int(fd) >= len(p.links) {
		return nil
	}
	return p.links[fd]
}

// wantsReader notes that there is something to read, and says whether somebody has to be found for
// that.
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

// watch registers the link for readiness. It returns false if that failed: because the link or the
// server is closed, or for want of descriptors.
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

// add registers l. Bytes that came with the handshake have no edge of their own: a reader is sent
// for those.
func (p *poller) add(l *link) bool {
	early := len(l.unread) > 0 // from here on they belong to whoever reads
	if !l.fd.acquire() {
		return false
	}
	defer l.fd.release()
	fd := l.fd.n
	p.mu.Lock()
	for int(fd) >= len(p.links) {
		p.links = append(p.links, make([]*link, 64)...)
	}
	p.links[fd] = l
	p.mu.Unlock()
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET, Fd: fd}
	var epErr error
	err := p.raw.Control(func(epfd uintptr) { epErr = unix.EpollCtl(int(epfd), unix.EPOLL_CTL_ADD, int(fd), &ev) })
	if err != nil || epErr != nil {
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
	if p == nil || l.nc != nil {
		return
	}
	p.mu.Lock()
	if p.link(l.fd.n) == l {
		p.links[l.fd.n] = nil
	}
	p.mu.Unlock()
}

// readTask reads what has come on a link, and has the handler work on it.
type readTask link

func (t *readTask) run() {
	l := (*link)(t)
	b := getLease()
	err := l.readReady(b)
	b.release()
	if err != nil {
		l.fail(err)
	}
	l.c.working.Add(1)
	l.c.handler.Work()
	l.c.working.Add(-1)
}

// readReady delivers every message that can be had and then gives the reading role back. After an
// error it keeps the role.
func (l *link) readReady(b *lease) error {
	in := b.input()
	buf := l.unread
	drained := false
	for {
		rest, err := l.take(buf)
		switch {
		case errors.Is(err, errNotReady):
			if l.pause(rest) {
				return nil
			}
			buf = rest
			continue
		case err != nil:
			return err
		case drained && l.backToRest(rest):
			return nil
		}
		n := copy(in, rest)
		m, err := l.fd.recv(in[n:])
		if errors.Is(err, unix.EAGAIN) {
			l.hungUp.Store(false)
		} else if err != nil {
			return err
		}
		// A read that did not fill the buffer has emptied the socket: what comes next has an edge of its
		// own. But the peer's end may lie behind these bytes, and has none if it came together with them.
		buf = in[:n+m]
		drained = len(buf) < len(in) && !l.hungUp.Load()
	}
}

// pause stops reading until the handler is ready, and returns false if it is so already. The role
// is kept meanwhile.
func (l *link) pause(rest []byte) bool {
	l.unread = bytes.Clone(rest)
	l.paused.Store(true)
	return !l.c.handler.Ready() || !l.paused.CompareAndSwap(true, false)
}

// backToRest gives the reading role back, unless more has come.
func (l *link) backToRest(rest []byte) bool {
	l.unread = nil
	if len(rest) > 0 {
		l.unread = bytes.Clone(rest)
	}
	if l.role.CompareAndSwap(roleReading, roleIdle) {
		return true
	}
	l.role.Store(roleReading)
	return false
}
