package fifo_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/supabridge/supabridge/bridge/fifo"
)

func TestValuesComeInTheOrderInWhichTheyWerePushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := fifo.New[int](10, nil)
		var got []int
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { q.Run(ctx, func(v int) { got = append(got, v) }) })
		var want []int
		for v := range 100 {
			q.Push(v)
			want = append(want, v)
			if v%7 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		stop()
		running.Wait()
		if !slices.Equal(got, want) {
			t.Errorf("consumed %v, want %v", got, want)
		}
	})
}

func TestAFullQueueDropsOnlyWhatMayBeLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := fifo.New(2, func(v int) bool { return v%2 == 0 })
		q.Push(1)
		q.Push(2)
		if q.Push(4) {
			t.Error("a value that may be lost was taken by a full queue")
		}
		if !q.Push(3) {
			t.Error("a value that must not be lost was dropped by a full queue")
		}
		var got []int
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { q.Run(ctx, func(v int) { got = append(got, v) }) })
		synctest.Wait()
		stop()
		running.Wait()
		if want := []int{1, 2, 3}; !slices.Equal(got, want) {
			t.Errorf("consumed %v, want %v", got, want)
		}
	})
}

func TestNothingIsConsumedOnceTheContextEnded(t *testing.T) {
	q := fifo.New[int](10, nil)
	ctx, stop := context.WithCancel(t.Context())
	q.Push(1)
	q.Push(2)
	var got []int
	q.Run(ctx, func(v int) { got = append(got, v); stop() })
	if want := []int{1}; !slices.Equal(got, want) {
		t.Errorf("consumed %v, want %v", got, want)
	}
}
