package feed

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// A change that came incomplete, or can't be placed, has its row read by the key beside the stream.
// Until that is answered the changes of the same row wait, and those of the same Group, so that the
// order of each is kept; all others go on.
//
// At most maxQueued changes, or maxQueuedBytes of rows, wait. At that bound the stream waits for
// answers, each of which comes within rereadWait; what the lanes' queues can't take meanwhile is
// found by the next read.
const (
	maxQueued      = 10_000
	maxQueuedBytes = 64 << 20
	maxRereads     = 8 // under way
)

// rereads are the rows that are being read and what waits for them. Owned by Run's goroutine, but
// for the goroutines of the requests.
type rereads struct {
	queues  map[string][]*job
	count   int
	bytes   int
	begin   []*job // to be read yet
	running int
	answers chan rereadAnswer
	cancel  context.CancelFunc
	ctx     context.Context
	all     sync.WaitGroup
	failed  []*job // to be read once more, in the order in which they failed
}

// job is what is to be done with one change.
type job struct {
	ctx    context.Context
	table  *tableFeed
	change Change
	by     lane
	keys   []string
	run    func(*job)
	reads  bool      // its row is being read, or about to be
	tries  int       // that failed
	again  time.Time // when its row is read once more, after one failed; nothing waits for that
	began  uint64    // the merger's count then
}

type rereadAnswer struct {
	job   *job
	row   json.RawMessage
	found bool
	err   error
}

func (q *rereads) init() {
	q.queues, q.answers = make(map[string][]*job), make(chan rereadAnswer)
	q.ctx, q.cancel = context.WithCancel(context.Background())
}

// keysOf names the queues of a change.
func (t *tableFeed) keysOf(c Change) []string {
	var keys []string
	if key := cmp.Or(c.Row.Text(t.Key), c.Old.Text(t.Key)); key != "" {
		keys = append(keys, t.Name+"/"+key)
	}
	for _, group := range []string{c.Row.Text(t.Group), c.Old.Text(t.Group)} {
		if key := "/" + group; group != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// blocked reports whether a change would have to wait.
func (f *Feed) blocked(t *tableFeed, c Change) bool {
	return len(f.rereads.queues) > 0 &&
		slices.ContainsFunc(t.keysOf(c), func(key string) bool { return len(f.rereads.queues[key]) > 0 })
}

// queue has run called with a change, once nothing of its row and of its group waits.
func (f *Feed) queue(ctx context.Context, t *tableFeed, c Change, by lane, run func(*job)) {
	j := &job{ctx: ctx, table: t, change: c, by: by, run: run}
	q := &f.rereads
	if !f.blocked(t, c) {
		if run(j); j.reads {
			f.enter(j)
			f.startRereads()
		}
		return
	}
	if j.change.Place != (Place{}) { // it is passed on after later ones
		j.change.Place = Place{}
		f.opts.Sink.Differs(Place{})
	}
	f.enter(j)
	for q.count > maxQueued || q.bytes > maxQueuedBytes {
		select {
		case <-ctx.Done():
			return
		case a := <-q.answers:
			f.rereadAnswered(a)
		}
	}
}

func (j *job) size() int { return len(j.change.Row.Record) + len(j.change.Old.Record) }

func (f *Feed) enter(j *job) {
	q := &f.rereads
	j.keys = j.table.keysOf(j.change)
	for _, key := range j.keys {
		q.queues[key] = append(q.queues[key], j)
	}
	q.count++
	q.bytes += j.size()
}

// finish takes a job out of its queues, where it is first, and does what waited for that.
func (f *Feed) finish(j *job) {
	q := &f.rereads
	for heads := []*job{j}; len(heads) > 0; {
		j, heads = heads[0], heads[1:]
		for _, key := range j.keys {
			if q.queues[key] = q.queues[key][1:]; len(q.queues[key]) == 0 {
				delete(q.queues, key)
			}
		}
		q.count--
		q.bytes -= j.size()
		for _, key := range j.keys {
			if len(q.queues[key]) == 0 {
				continue
			}
			next := q.queues[key][0]
			if next.reads || slices.Contains(heads, next) ||
				slices.ContainsFunc(next.keys, func(key string) bool { return q.queues[key][0] != next }) {
				continue
			}
			if next.run(next); !next.reads {
				heads = append(heads, next)
			}
		}
	}
	f.startRereads()
}

// reread has the row of a change read by its key. It is called by a job's run, and what follows is
// told by exact.
func (f *Feed) reread(j *job) {
	f.stats.rereads.Add(1)
	if len(j.table.keysOf(j.change)) == 0 || j.key() == "" {
		f.settle()
		return
	}
	j.reads = true
	f.rereads.begin = append(f.rereads.begin, j)
}

func (j *job) key() string {
	return cmp.Or(j.change.Row.Text(j.table.Key), j.change.Old.Text(j.table.Key))
}

func (f *Feed) startRereads() {
	q := &f.rereads
	for q.running < maxRereads && len(q.begin) > 0 {
		j := q.begin[0]
		q.begin = q.begin[1:]
		q.running++
		j.began = j.table.merger.begin()
		table, column, key := j.table.Name, j.table.Key, j.key()
		q.all.Go(func() {
			ctx, cancel := context.WithTimeout(q.ctx, rereadWait)
			defer cancel()
			r, found, err := f.opts.Reader.Row(ctx, table, column, key)
			select {
			case q.answers <- rereadAnswer{j, r, found, err}:
			case <-q.ctx.Done():
			}
		})
	}
}

// rereadAnswered passes on what was read, and then what waited for it.
func (f *Feed) rereadAnswered(a rereadAnswer) {
	f.rereads.running--
	f.exact(a)
	f.finish(a.job)
}

// exact passes on the row of a change as it was read, where that is news.
func (f *Feed) exact(a rereadAnswer) {
	j := a.job
	t, c := j.table, j.change
	if a.err != nil || t.merger.changedSince(j.key(), j.began) {
		f.settle()
		if a.err != nil {
			f.rereadLater(j)
		}
		return
	}
	var told Change
	var ok bool
	if a.found {
		r := parse(a.row)
		t.look(r)
		told, ok = t.merger.exact(r, c, j.by)
		told.Found, told.Commit = false, c.Commit
	} else {
		told, ok = t.merger.gone(c, j.by)
	}
	if ok {
		f.opts.Sink.Change(j.ctx, told)
	}
}

// What no read by time finds, such as an update that leaves the time of update as it was, has its
// row read again where that failed.
const (
	maxFailed = 1000 // rows that are to be read again
	maxTries  = 10   // for one row: some four minutes
)

// rereadLater has the row of a change read once more after a while. Nothing waits for that: the row
// is passed on as it is by then.
func (f *Feed) rereadLater(j *job) {
	q := &f.rereads
	if j.tries++; j.tries >= maxTries || len(q.failed) >= maxFailed {
		return
	}
	again := *j
	again.keys, again.run = nil, nil
	again.again = time.Now().Add(min(retryMin<<(j.tries-1), retryMax))
	q.failed = append(q.failed, &again)
}

// rereadFailed reads what is due, but for what was passed on since.
func (f *Feed) rereadFailed() {
	q := &f.rereads
	now := time.Now()
	q.failed = slices.DeleteFunc(q.failed, func(j *job) bool {
		if j.again.After(now) {
			return false
		}
		if !j.table.merger.changedSince(j.key(), j.began) {
			q.count++ // finish counts it off
			q.bytes += j.size()
			q.begin = append(q.begin, j)
		}
		return true
	})
	f.startRereads()
}

// nextFailed is when rereadFailed has something to do; zero: never.
func (f *Feed) nextFailed() (next time.Time) {
	for _, j := range f.rereads.failed {
		next = earliest(next, j.again)
	}
	return next
}

// waits reports whether something that was heard has not been passed on.
func (q *rereads) waits() bool { return q.count > 0 || len(q.failed) > 0 }

// end stops reading, and passes on what waited; the changes whose rows were being read are found by
// the reads of who starts next.
func (f *Feed) end() {
	q := &f.rereads
	q.cancel()
	q.all.Wait()
	for len(q.queues) > 0 {
		q.begin = nil
		for _, list := range q.queues {
			if j := list[0]; j.reads {
				f.finish(j)
				break
			}
		}
	}
	q.all.Wait()
}
