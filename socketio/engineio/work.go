package engineio

import (
	"runtime"
	"sync"
)

// task is something a worker does for one connection: read what has come, write what is pending,
// run the handler.
type task interface{ run() }

// pool runs tasks on as many goroutines as it takes for none to wait behind a task that blocks.
// Tasks are started in the order they came, but for those that go on with what a worker has at
// hand. Of idle workers only a few stay.
//
// A worker that takes a task while others wait wakes one more worker first, unless one is being
// woken already. So a burst of short tasks is done by the worker that is awake, and a task that
// blocks holds up nothing but itself.
type pool struct {
	mu sync.Mutex
	// waiting, from head on; bounded by three tasks a connection, since each has at most one of a kind
	ready   []task
	head    int             // index of the first waiting task
	idle    []chan pleaseDo // parked workers, the one parked last at the end
	waking  bool            // a worker was woken or started and has not taken a task yet
	closed  bool            // nothing more is started
	workers sync.WaitGroup
}

// pleaseDo wakes a parked worker; false sends it home.
type pleaseDo bool

// maxIdle is how many workers stay parked when there is nothing to do.
func maxIdle() int { return runtime.GOMAXPROCS(0) + 2 }

// submit queues tasks. After close it drops them.
func (p *pool) submit(ts ...task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.ready = append(p.ready, ts...)
	p.wake()
}

// submitNext queues a task that goes on with what the running one has at hand, its connection,
// before all others: while that is in the processor's caches. It is for tasks that come of reading
// from that very connection, so that they hold others up no longer than that does.
func (p *pool) submitNext(t task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return
	case p.head > 0: // whoever runs has taken a task
		p.head--
		p.ready[p.head] = t
	default:
		p.ready = append(p.ready, t)
	}
	p.wake()
}

// wake gets one more worker going if tasks wait and none is on its way. The caller holds mu.
func (p *pool) wake() {
	if p.waking || p.head == len(p.ready) {
		return
	}
	p.waking = true
	if n := len(p.idle); n > 0 {
		ch := p.idle[n-1]
		p.idle = p.idle[:n-1]
		ch <- true // buffered: never blocks
		return
	}
	p.workers.Go(p.work)
}

// work is a worker's life.
func (p *pool) work() {
	parked := make(chan pleaseDo, 1)
	p.mu.Lock()
	p.waking = false
	for {
		for p.head < len(p.ready) {
			t := p.ready[p.head]
			p.ready[p.head] = nil
			p.head++
			if p.head == len(p.ready) {
				p.head, p.ready = 0, p.ready[:0]
				if cap(p.ready) > 1<<14 {
					p.ready = nil
				}
			}
			p.wake()
			p.mu.Unlock()
			t.run()
			p.mu.Lock()
		}
		if p.closed || len(p.idle) >= maxIdle() {
			p.mu.Unlock()
			return
		}
		p.idle = append(p.idle, parked)
		p.mu.Unlock()
		if !<-parked {
			return
		}
		p.mu.Lock()
		p.waking = false
	}
}

// close sends idle workers home, lets the others finish what is queued, and waits for them.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	for _, ch := range p.idle {
		ch <- false
	}
	p.idle = nil
	p.mu.Unlock()
	p.workers.Wait()
}
