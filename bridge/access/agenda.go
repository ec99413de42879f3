package access

import (
	"container/heap"
	"time"
)

// agenda holds users by the time at which something is due; at the same time the one who came
// first. It is not safe for concurrent use.
type agenda struct {
	heap dues
	by   map[string]*due
	nth  uint64
}

type due struct {
	user  string
	at    time.Time
	nth   uint64
	index int // in the heap
}

func newAgenda() *agenda { return &agenda{by: make(map[string]*due)} }

// first gives the user who is due first; nil where there is none.
func (a *agenda) first() *due {
	if len(a.heap) == 0 {
		return nil
	}
	return a.heap[0]
}

// set puts a user on the agenda, or gives it another time.
func (a *agenda) set(user string, at time.Time) {
	a.nth++
	if d := a.by[user]; d != nil {
		d.at, d.nth = at, a.nth
		heap.Fix(&a.heap, d.index)
		return
	}
	d := &due{user: user, at: at, nth: a.nth}
	a.by[user] = d
	heap.Push(&a.heap, d)
}

func (a *agenda) remove(user string) {
	if d := a.by[user]; d != nil {
		delete(a.by, user)
		heap.Remove(&a.heap, d.index)
	}
}

// dues is what container/heap asks for.
type dues []*due

func (d dues) Len() int { return len(d) }

func (d dues) Less(i, j int) bool {
	if d[i].at.Equal(d[j].at) {
		return d[i].nth < d[j].nth
	}
	return d[i].at.Before(d[j].at)
}

func (d dues) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

func (d *dues) Push(x any) {
	e := x.(*due)
	e.index = len(*d)
	*d = append(*d, e)
}

func (d *dues) Pop() any {
	last := len(*d) - 1
	e := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	return e
}
