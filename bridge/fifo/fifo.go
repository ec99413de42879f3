// Package fifo is a queue with one consumer. A package that guards its state with a mutex pushes
// what changed while it holds the mutex, and the consumer acts on it outside, in the same order.
//
//	q := fifo.New[Change](1000, nil)
//	go q.Run(ctx, emit)
//	q.Push(change)
//
// It starts no goroutine. Run's caller owns the one on which values are consumed.
package fifo

import (
	"context"
	"sync"
)

// Queue is a queue of values. It is safe for concurrent use.
type Queue[T any] struct {
	max  int
	shed func(T) bool
	wake chan struct{} // holds one while there is something to consume

	mu      sync.Mutex // guards waiting
	waiting []T
}

// New makes a queue. While max values wait, a further value is dropped if shed reports true of it:
// its loss does no harm. Any other is taken nevertheless. A nil shed drops nothing.
func New[T any](max int, shed func(T) bool) *Queue[T] {
	return &Queue[T]{max: max, shed: shed, wake: make(chan struct{}, 1)}
}

// Push adds a value. It never waits. It reports false where the value was dropped.
func (q *Queue[T]) Push(v T) bool {
	q.mu.Lock()
	taken := len(q.waiting) < q.max || q.shed == nil || !q.shed(v)
	if taken {
		q.waiting = append(q.waiting, v)
	}
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // the consumer is awake already
	}
	return taken
}

// Run passes each value to consume, one after another, until ctx ends. What waits then is dropped.
func (q *Queue[T]) Run(ctx context.Context, consume func(T)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		for _, v := range q.take() {
			if ctx.Err() != nil {
				return
			}
			consume(v)
		}
	}
}

func (q *Queue[T]) take() []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.waiting
	q.waiting = nil
	return taken
}
