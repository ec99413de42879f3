package access_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// slow answers yes after a second and keeps how many rooms each question was about.
type slow struct {
	policy
	mu     sync.Mutex
	rooms  []int
	now    int
	most   int
	failed string // a room that nobody can be asked about
}

func (s *slow) VisibleTo(ctx context.Context, _, _, _ string, ids []string) ([]string, error) {
	s.mu.Lock()
	s.rooms = append(s.rooms, len(ids))
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	var found []string
	var err error
	for _, id := range ids {
		if id == s.failed {
			err = errors.New("no answer")
			continue
		}
		found = append(found, id)
	}
	return found, err
}

// maxFresh is how many questions may be under way at once.
const maxFresh = 32

func TestFreshQuestionsOfOneTokenArePutTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		f := guarded(t, s, nil).authorizer
		who := signedIn("mine")
		var all sync.WaitGroup
		for i := range 500 { // sockets of one user that come back at once, each of several rooms
			all.Go(func() {
				ids := []string{fmt.Sprint("c", i%40), fmt.Sprint("c", i%40+1)}
				open, _, err := f.AskFresh(t.Context(), who, conversationRoom, ids)
				if err != nil || !open[ids[0]] || !open[ids[1]] {
					t.Errorf("%v: %v %v, want both open", ids, open, err)
				}
			})
		}
		all.Wait()
		if len(s.rooms) != 2 || s.most != 1 {
			t.Errorf("500 sockets of one user made %d questions, %d at once; want the first one, and one for all others",
				len(s.rooms), s.most)
		}
		// An answer from before must not serve: the next question is a new one.
		if _, _, err := f.AskFresh(t.Context(), who, conversationRoom, []string{"c1"}); err != nil || len(s.rooms) != 3 {
			t.Errorf("%d questions (%v), want another one", len(s.rooms), err)
		}
	})
}

func TestFreshQuestionsOfManyUsersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		f := guarded(t, s, nil).authorizer
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				who := signedIn(fmt.Sprint("user ", i))
				if _, _, err := f.AskFresh(t.Context(), who, conversationRoom, []string{"c1"}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if len(s.rooms) != 200 || s.most != maxFresh {
			t.Errorf("%d questions of 200 users, %d at once; want %d at once", len(s.rooms), s.most, maxFresh)
		}
	})
}

func TestOneRoomThatNobodyCanBeAskedAboutSpoilsNoOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{failed: "c3"}
		f := guarded(t, s, nil).authorizer
		who := signedIn("mine")
		if open, _, err := f.AskFresh(t.Context(), who, conversationRoom, []string{"c1", "c3"}); err == nil {
			t.Errorf("%v, want an error: it is not known of one", open)
		}
		var all sync.WaitGroup
		for _, id := range []string{"c0", "c1", "c2", "c3"} {
			all.Go(func() {
				open, _, err := f.AskFresh(t.Context(), who, conversationRoom, []string{id})
				if (err == nil && open[id]) == (id == s.failed) {
					t.Errorf("%s: %v %v", id, open, err)
				}
			})
		}
		all.Wait()
	})
}

func TestNobodyIsAskedOnceTheBridgeEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		f := guarded(t, s, nil).authorizer
		ended := make(chan error)
		go func() {
			_, _, err := f.AskFresh(t.Context(), signedIn("mine"), conversationRoom, []string{"c1"})
			ended <- err
		}()
		synctest.Wait()
		f.Close()
		if err := <-ended; err == nil {
			t.Error("a question was answered that the bridge's end has broken off")
		}
		_, _, err := f.AskFresh(t.Context(), signedIn("mine"), conversationRoom, []string{"c1"})
		if err == nil || len(s.rooms) != 1 {
			t.Errorf("error %v after %d questions, want one and no other question", err, len(s.rooms))
		}
	})
}
