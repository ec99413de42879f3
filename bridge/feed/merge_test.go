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

// instant is a version; one that is late is no other's, for of two states of one version a read
// can't tell the younger.
func instant(n, late int) string {
	t := at(n)
	if late > 0 {
		t = t.Add(-time.Duration(late)*time.Millisecond - time.Duration(n%900+1)*time.Microsecond)
	}
	return t.Format("2006-01-02T15:04:05.999999-07:00")
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
	queue []carried // not delivered yet
	gap   bool      // what commits, or the leader passes on, is lost
}

// carried is a step as a lane brings it.
type carried struct {
	step
	change Change
}

// model is a database, two lanes that lose, of which the one repeats, reads that see a snapshot and
// are answered later, and what a browser would hold. A second model of the same database may follow
// it: to that one what this one passes on comes by the bus, which loses too.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	m       *merger
	follows *model      // the leader
	behind  *model      // who follows
	bussed  map[int]int // by n of a delete, how many of the leader's lanes will not bring it to the bus
	n       int
	rows    map[int]step
	gone    map[int]bool // deletes, by n, that the leader told since a row was not there: perhaps another of the row
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
	byBus   int
	owed    bool // a read, before all is settled
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
	d.carry(s, lost)
	if f := d.behind; f != nil {
		f.n, f.rows = d.n, d.rows
		f.carry(s, lost)
	}
}

// carry puts a step on the lanes of Realtime.
func (d *model) carry(s step, lost bool) {
	d.recent = append(d.recent[max(0, len(d.recent)-4):], s)
	for _, by := range []lane{byChanges, byBroadcast} {
		if d.wires[by].gap || lost && by == byBroadcast {
			d.lose(s)
			continue
		}
		d.wires[by].queue = append(d.wires[by].queue, carried{s, s.change(by)})
	}
}

// pass puts what the leader passes on on the bus.
func (d *model) pass(s step, c Change) {
	w := &d.wires[byBus]
	if w.gap {
		d.lose(s)
		return
	}
	if s.deleted {
		d.bussed[s.n] = -lanes // whatever becomes of its copies
	}
	w.queue = append(w.queue, carried{s, c})
}

// unbussed notes that a lane of the leader's will not bring a delete to the bus.
func (d *model) unbussed(s step) {
	if d.bussed[s.n]++; s.deleted && d.bussed[s.n] == 2 {
		d.lose(s)
	}
}

// lose notes that a lane will not bring a step.
func (d *model) lose(s step) {
	if !s.deleted {
		return
	}
	if d.behind != nil {
		d.behind.unbussed(s)
	}
	all := 2
	if d.follows != nil {
		all++
	}
	if d.lost[s.n]++; d.lost[s.n] == all {
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
	d.bring(s.step, s.change, by)
}

func (d *model) bring(s step, c Change, by lane) {
	if by != byBroadcast && s.commit <= d.start && !s.deleted && d.m.entry(fmt.Sprint(s.key)) == nil {
		return // see merger.precedes: a subscription repeats, or the leader passes on, what was committed before this feed began
	}
	if by == byBroadcast {
		c.heard = at(d.n)
	}
	if c, ok := d.m.live(c, by); ok {
		if d.tell(s, c); by == byBus {
			d.byBus++
		}
	} else {
		if d.dropped++; d.behind != nil {
			d.behind.unbussed(s)
		}
	}
	if !d.m.settled() {
		d.owed = true
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
	} else if c, ok := d.m.gone(c, by); ok {
		d.told[s.key] = s // or another DELETE that is on its way
		if d.behind != nil {
			d.behind.pass(s, c)
			d.behind.gone[s.n] = true
		}
	}
}

// cut loses what is on a lane's wire and all that commits until mend.
func (d *model) cut(by lane) {
	w := &d.wires[by]
	w.gap = true
	for _, s := range w.queue {
		d.lose(s.step)
	}
	w.queue = nil
	d.m.cut(by)
	d.owed = true
}

// mendBus has the bus bring what the leader passes on from now on. What it may have missed is read.
func (d *model) mendBus() {
	d.wires[byBus].gap, d.owed = false, true
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
			d.bring(s, s.change(by), by)
		}
	}
}

// restart begins anew, as after kill -9: what is there is known, and browsers have read it.
func (d *model) restart() {
	d.cut(byChanges)
	d.cut(byBroadcast)
	d.cut(byBus)
	if d.behind != nil {
		d.behind.cut(byBus)
	}
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
	if d.behind != nil {
		d.behind.pass(s, c)
	}
	last, had := d.told[s.key]
	switch {
	case s.deleted && d.gone[s.n]:
	case had && last.n == s.n:
		d.t.Fatalf("commit %d of row %d was passed on twice", s.n, s.key)
	case had && last.n > s.n && last.late == 0: // an older version may be gone back from, and is come back to
		d.t.Fatalf("commit %d of row %d followed %d", s.n, s.key, last.n)
	case c.Replaces && had && last.born == s.born:
		d.t.Fatalf("row %d was passed on as another (commit %d after %d) though it was the same", s.key, s.n, last.n)
	case c.Action == Insert && had && !last.deleted && d.missed[s.key] == 0 && !c.Replaces:
		d.t.Fatalf("row %d was passed on as new though it was known (commit %d after %d)", s.key, s.n, last.n)
	case c.Action == Update && (!had || last.deleted) && d.missed[s.key] == 0 && s.n > d.start:
		d.t.Fatalf("row %d was updated (commit %d) without having been inserted", s.key, s.n)
	}
	d.told[s.key] = s
	if s.n > d.missed[s.key] {
		delete(d.missed, s.key)
	}
}

// settle lets everything arrive and then compares with the database. A follower reads nothing for
// that while the bus brings what the leader reads.
func (d *model) settle() {
	if d.follows != nil {
		d.follows.settle()
	}
	for by := range lanes {
		for len(d.wires[by].queue) > 0 {
			d.deliver(lane(by))
		}
	}
	for len(d.reads) > 0 {
		d.answer()
	}
	if d.follows == nil || d.owed || d.wires[byBus].gap {
		d.ask()
		d.answer()
		d.owed = false
	}
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
	return &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), rows: map[int]step{}, gone: map[int]bool{}, told: map[int]step{}, missed: map[int]int{}, lost: map[int]int{},
		bussed: map[int]int{}, m: newMerger(Table{Name: "messages", Key: "id", Updated: "updated_at", Created: "created_at"}, 1000)}
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
		d.any()
	}
	d.settle()
	if d.repairs == 0 || d.passed < steps/10 {
		t.Errorf("the test saw too little: %d passed on, %d of them by reads", d.passed, d.repairs)
	}
	t.Logf("%d steps committed, %d passed on, %d of them found by reads; %d copies dropped, %d rows read by key", d.n, d.passed, d.repairs, d.dropped, d.exact)
}

// any has one thing happen. Who follows a leader leaves the committing to that.
func (d *model) any() {
	switch p := d.rng.IntN(1000); {
	case p < 300:
		if d.follows == nil {
			d.commit()
		} else {
			d.deliver(byBus)
		}
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

func TestWhoFollowsALeaderLosesAndRepeatsNothingWhicheverLanesItHas(t *testing.T) {
	s := *modelSeed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d (replay with -model.seed)", s)
	leader, d := newModel(t, s), newModel(t, s+1)
	leader.behind, d.follows, d.rows = d, leader, leader.rows
	steps := *modelSteps / 4
	if testing.Short() {
		steps /= 10
	}
	for range steps {
		leader.any()
		switch p := d.rng.IntN(5000); {
		case p < 2500:
			d.any()
		case p < 2540: // it is led: Realtime is silent
			d.cut(byChanges)
			d.cut(byBroadcast)
		case p < 2550:
			d.cut(byBus)
		case p < 2600:
			d.mendBus()
		}
	}
	d.settle()
	if d.repairs == 0 || d.byBus < steps/20 {
		t.Errorf("the test saw too little: %d passed on, %d of them by reads, %d by the bus", d.passed, d.repairs, d.byBus)
	}
	t.Logf("%d steps committed, %d passed on, %d of them by the bus, %d found by reads; %d copies dropped, %d rows read by key", d.n, d.passed, d.byBus, d.repairs, d.dropped, d.exact)
}
