package feed

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
)

var (
	modelSteps = flag.Int("model.steps", 1_000_000, "steps of the model test")
	modelSeed  = flag.Uint64("model.seed", 0, "seed of the model test; 0 takes one from the clock")
)

// step is one committed state of a row.
type step struct {
	n       int // of all
	key     int
	deleted bool
	born    int // n of its insert
	version int // what updated_at says: n of the transaction's first
	late    int // and by how many ms less: its transaction began before others
	commit  int // the transaction's
	before  *step
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// at is when a commit was made.
func at(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }

func instant(n, late int) string {
	return at(n).Add(-time.Duration(late) * time.Millisecond).Format("2006-01-02T15:04:05.999999-07:00")
}

func (s step) row() row.Row {
	return parse([]byte(fmt.Sprintf(`{"id":%d,"n":%d,"created_at":"%s","updated_at":"%s"}`, s.key, s.n, instant(s.born, 0), instant(s.version, s.late))))
}

func (s step) keyOnly() row.Row { return parse([]byte(fmt.Sprintf(`{"id":%d}`, s.key))) }

// change is the step as a lane brings it.
func (s step) change(by lane) Change {
	c := Change{Table: "messages", Commit: at(s.commit)}
	switch {
	case s.deleted:
		c.Action, c.Old = Delete, s.keyOnly()
	case s.n == s.born:
		c.Action, c.Row = Insert, s.row()
	default:
		c.Action, c.Row, c.Old = Update, s.row(), s.keyOnly()
	}
	if by == byBroadcast {
		c.Commit = time.Time{}
		if c.Action != Insert {
			c.Old = s.before.row()
		}
	}
	return c
}

// keys is how many rows there are at most: few, so that each sees much.
const keys = 12

// wire is what a lane carries.
type wire struct {
	queue []step // committed and not delivered yet
	gap   bool   // what commits is lost
}

// model is a database, two lanes that lose, of which the one repeats, reads that see a snapshot and are answered later, and what a browser would hold.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	m       *merger
	n       int
	rows    map[int]step
	wires   [lanes]wire
	recent  []step // the last commits: a new subscription may begin with them
	reads   []pending
	told    map[int]step // the last state passed on, by key
	missed  map[int]int  // keys whose delete was lost, and its commit: browsers are told to read the room anew
	lost    map[int]int  // by n of a delete, how many lanes lost it
	start   int          // the last commit before the last restart
	passed  int
	dropped int
	repairs int
	exact   int
}

type pending struct {
	rows  []step
	began uint64
}

// commit commits a transaction of one step, or of a few on one row.
func (d *model) commit() {
	steps := 1
	if d.rng.IntN(6) == 0 {
		steps += d.rng.IntN(3)
	}
	key, first := d.rng.IntN(keys), d.n+1
	lost := d.rng.IntN(50) == 0 // as what is too large for a broadcast
	for range steps {
		d.step(key, first, steps == 1, lost)
	}
}

func (d *model) step(key, first int, alone, lost bool) {
	d.n++
	old, exists := d.rows[key]
	s := step{n: d.n, key: key, born: old.born, version: first, commit: first}
	switch {
	case !exists:
		s.born = d.n
	case d.rng.IntN(8) == 0 && old.born < first: // nobody deletes in a transaction what it inserted
		s.deleted, s.before = true, &old
	default:
		s.before = &old
		if alone && d.rng.IntN(20) == 0 {
			s.late = d.rng.IntN(3000) + 1
		}
	}
	if old.before != nil {
		old.before = nil // one is enough
	}
	if s.deleted {
		delete(d.rows, key)
	} else {
		d.rows[key] = s
	}
	d.recent = append(d.recent[max(0, len(d.recent)-4):], s)
	for by := range d.wires {
		if d.wires[by].gap || lost && lane(by) == byBroadcast {
			d.lose(s)
			continue
		}
		d.wires[by].queue = append(d.wires[by].queue, s)
	}
}

// lose notes that a lane will not bring a step.
func (d *model) lose(s step) {
	if !s.deleted {
		return
	}
	if d.lost[s.n]++; d.lost[s.n] == len(d.wires) {
		d.missed[s.key] = max(d.missed[s.key], s.n)
	}
}

func (d *model) deliver(by lane) {
	w := &d.wires[by]
	if len(w.queue) == 0 {
		return
	}
	s := w.queue[0]
	w.queue = w.queue[1:]
	d.bring(s, by)
}

func (d *model) bring(s step, by lane) {
	c := s.change(by)
	if by == byBroadcast {
		c.heard = at(d.n)
	}
	if c, ok := d.m.live(c, by); ok {
		d.tell(s, c)
	} else {
		d.dropped++
	}
	if d.m.placed() {
		return
	}
	d.exact++
	now, there := d.rows[s.key]
	if there {
		if c, ok := d.m.exact(now.row(), c, by); ok {
			d.tell(now, c)
		}
	} else if _, ok := d.m.gone(c, by); ok {
		d.told[s.key] = s // or another DELETE that is on its way
	}
}

// cut loses what is on a lane's wire and all that commits until mend.
func (d *model) cut(by lane) {
	w := &d.wires[by]
	w.gap = true
	for _, s := range w.queue {
		d.lose(s)
	}
	w.queue = nil
	d.m.cut(by)
}

// mend begins to deliver again; postgres_changes begin with what was committed just before.
func (d *model) mend(by lane) {
	if !d.wires[by].gap {
		return
	}
	d.wires[by].gap = false
	if by == byChanges {
		from := d.rng.IntN(len(d.recent) + 1)
		for from > 0 && from < len(d.recent) && d.recent[from].commit == d.recent[from-1].commit {
			from++ // it begins with a whole transaction
		}
		for _, s := range d.recent[from:] {
			d.bring(s, by)
		}
	}
}

// restart begins anew, as after kill -9: what is there is known, and browsers have read it.
func (d *model) restart() {
	d.cut(byChanges)
	d.cut(byBroadcast)
	d.m = newMerger(d.m.table, d.m.limit)
	d.m.floor = at(d.n)
	d.reads, d.start = nil, d.n
	clear(d.told)
	clear(d.missed)
	clear(d.lost)
	for key, s := range d.rows {
		d.m.known(s.row())
		d.told[key] = s
	}
}

func (d *model) ask() {
	p := pending{began: d.m.begin()}
	for key := range keys {
		if s, ok := d.rows[key]; ok {
			p.rows = append(p.rows, s)
		}
	}
	d.reads = append(d.reads, p)
}

func (d *model) answer() {
	if len(d.reads) == 0 {
		return
	}
	p := d.reads[0]
	d.reads = d.reads[1:]
	for _, s := range p.rows {
		if c, ok := d.m.read(s.row(), p.began); ok {
			d.repairs++
			d.tell(s, c)
		}
	}
}

// tell checks what is passed on against what was before.
func (d *model) tell(s step, c Change) {
	d.passed++
	last, had := d.told[s.key]
	switch {
	case had && last.n == s.n:
		d.t.Fatalf("commit %d of row %d was passed on twice", s.n, s.key)
	case had && last.n > s.n && last.late == 0: // an older version may be gone back from, and is come back to
		d.t.Fatalf("commit %d of row %d followed %d", s.n, s.key, last.n)
	case c.Action == Insert && had && !last.deleted && d.missed[s.key] == 0:
		d.t.Fatalf("row %d was passed on as new though it was known (commit %d after %d)", s.key, s.n, last.n)
	case c.Action == Update && (!had || last.deleted) && d.missed[s.key] == 0 && s.n > d.start:
		d.t.Fatalf("row %d was updated (commit %d) without having been inserted", s.key, s.n)
	}
	d.told[s.key] = s
	if s.n > d.missed[s.key] {
		delete(d.missed, s.key)
	}
}

// settle lets everything arrive and then compares with the database.
func (d *model) settle() {
	for by := range lanes {
		for len(d.wires[by].queue) > 0 {
			d.deliver(lane(by))
		}
	}
	for len(d.reads) > 0 {
		d.answer()
	}
	d.ask()
	d.answer()
	for key := range keys {
		row, exists := d.rows[key]
		told, had := d.told[key]
		if exists && (!had || told.n != row.n) {
			d.t.Fatalf("row %d is at commit %d in the database and was last passed on at %d", key, row.n, told.n)
		}
		if !exists && had && !told.deleted && d.missed[key] == 0 {
			d.t.Fatalf("row %d is gone from the database and was last passed on at %d", key, told.n)
		}
	}
}

func newModel(t *testing.T, seed uint64) *model {
	return &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), rows: map[int]step{}, told: map[int]step{}, missed: map[int]int{}, lost: map[int]int{},
		m: newMerger(Table{Name: "messages", Key: "id", Updated: "updated_at", Created: "created_at"}, 1000)}
}

func TestNoCommitIsLostTwiceOrOutOfOrderWhateverIsCutReadAndRepeated(t *testing.T) {
	s := *modelSeed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (replay with -model.seed)", s)
	d := newModel(t, s)
	steps := *modelSteps
	if testing.Short() {
		steps /= 10
	}
	for range steps {
		switch p := d.rng.IntN(1000); {
		case p < 300:
			d.commit()
		case p < 600:
			d.deliver(byBroadcast)
		case p < 860:
			d.deliver(byChanges)
		case p < 880:
			d.ask()
		case p < 930:
			d.answer()
		case p < 940:
			d.cut(byChanges)
		case p < 949:
			d.cut(byBroadcast)
		case p < 950:
			d.restart()
		case p < 970:
			d.mend(byChanges)
		case p < 990:
			d.mend(byBroadcast)
		default:
			d.settle()
		}
	}
	d.settle()
	if d.repairs == 0 || d.passed < steps/10 {
		t.Errorf("the test saw too little: %d passed on, %d of them by reads", d.passed, d.repairs)
	}
	t.Logf("%d steps committed, %d passed on, %d of them found by reads; %d copies dropped, %d rows read by key", d.n, d.passed, d.repairs, d.dropped, d.exact)
}
