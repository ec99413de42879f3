package phoenix

import (
	"container/heap"
	"time"
)

// Clock is where a Client takes time from. Now must carry a monotonic reading when
// the system has one, as time.Now does: the client compares it with wall time to
// notice a machine that was suspended.
type Clock interface {
	Now() time.Time
	NewTimer(d time.Duration) Timer
}

// Timer is a one-shot timer of a Clock. After Stop or Reset no earlier firing may
// be left in C.
type Timer interface {
	C() <-chan time.Time
	Reset(d time.Duration)
	Stop()
}

type systemClock struct{}

func (systemClock) Now() time.Time                 { return time.Now() }
func (systemClock) NewTimer(d time.Duration) Timer { return systemTimer{time.NewTimer(d)} }

type systemTimer struct{ t *time.Timer }

func (t systemTimer) C() <-chan time.Time   { return t.t.C }
func (t systemTimer) Reset(d time.Duration) { t.t.Reset(d) }
func (t systemTimer) Stop()                 { t.t.Stop() }

// agenda holds everything the client's loop has to do later, behind one timer. It
// is owned by the loop: alarms run there, so a stopped alarm never runs, and
// nothing of an earlier connection can fire into a later one.
type agenda struct {
	clock Clock
	timer Timer
	queue alarmQueue
}

// alarm is one entry of the agenda.
type alarm struct {
	at    time.Time
	fn    func()
	index int // in the queue; -1 when not in it
	of    *agenda
}

// idle is how long the timer is set when nothing is due.
const idle = 24 * time.Hour

func newAgenda(clock Clock) *agenda {
	return &agenda{clock: clock, timer: clock.NewTimer(idle)}
}

// after arranges for fn to run on the loop in d.
func (a *agenda) after(d time.Duration, fn func()) *alarm {
	al := &alarm{at: a.clock.Now().Add(max(d, 0)), fn: fn, of: a}
	heap.Push(&a.queue, al)
	if al.index == 0 {
		a.rearm()
	}
	return al
}

// stop takes the alarm off the agenda. It is fine on nil and on one that already ran.
func (al *alarm) stop() {
	if al == nil || al.index < 0 {
		return
	}
	first := al.index == 0
	heap.Remove(&al.of.queue, al.index)
	if first {
		al.of.rearm()
	}
}

// pending reports whether the alarm is still to run.
func (al *alarm) pending() bool { return al != nil && al.index >= 0 }

func (a *agenda) rearm() {
	if len(a.queue) == 0 {
		a.timer.Reset(idle)
		return
	}
	a.timer.Reset(max(a.queue[0].at.Sub(a.clock.Now()), 0))
}

// fire runs what is due.
func (a *agenda) fire() {
	now := a.clock.Now()
	for len(a.queue) > 0 && !a.queue[0].at.After(now) {
		al := heap.Pop(&a.queue).(*alarm)
		al.fn()
	}
	a.rearm()
}

type alarmQueue []*alarm

func (q alarmQueue) Len() int           { return len(q) }
func (q alarmQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q alarmQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *alarmQueue) Push(x any) {
	al := x.(*alarm)
	al.index = len(*q)
	*q = append(*q, al)
}

func (q *alarmQueue) Pop() any {
	old := *q
	al := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	al.index = -1
	return al
}
