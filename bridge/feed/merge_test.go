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

// state is one committed state of a row.
type state struct {
	n       int // of all commits
	key     int
	deleted bool
	born    int // n of its insert
	version int // what updated_at says; mostly n
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func instant(n int) string {
	return epoch.Add(time.Duration(n) * time.Millisecond).Format("2006-01-02T15:04:05.999999-07:00")
}

func (s state) row() row.Row {
	return parse([]byte(fmt.Sprintf(`{"id":%d,"n":%d,"created_at":"%s","updated_at":"%s"}`, s.key, s.n, instant(s.born), instant(s.version))))
}

func (s state) keyOnly() row.Row { return parse([]byte(fmt.Sprintf(`{"id":%d}`, s.key))) }

func (s state) change() Change {
	c := Change{Table: "messages", Commit: epoch.Add(time.Duration(s.n) * time.Millisecond)}
	switch {
	case s.deleted:
		c.Action, c.Old = Delete, s.keyOnly()
	case s.n == s.born:
		c.Action, c.Row = Insert, s.row()
	default:
		c.Action, c.Row, c.Old = Update, s.row(), s.keyOnly()
	}
	return c
}

// keys is how many rows there are at most: few, so that each sees much.
const keys = 12

// model is a database, a live feed that loses and repeats, reads that see a snapshot and are answered later, and what a browser would hold.
type model struct {
	t       *testing.T
	rng     *rand.Rand
	m       *merger
	n       int
	rows    map[int]state
	wire    []state // committed and not delivered yet
	recent  []state // the last commits: a new subscription may begin with them
	reads   []pending
	told    map[int]state // the last state passed on, by key
	missed  map[int]int   // keys whose delete was lost, and its commit: browsers are told to read the room anew
	gap     bool
	start   int // the last commit before the last restart
	passed  int
	repairs int
}

type pending struct {
	rows  []state
	began uint64
}

func (d *model) commit() {
	d.n++
	key := d.rng.IntN(keys)
	old, exists := d.rows[key]
	s := state{n: d.n, key: key, born: old.born, version: d.n}
	switch {
	case !exists:
		s.born = d.n
	case d.rng.IntN(8) == 0:
		s.deleted = true
	}
	if s.deleted {
		delete(d.rows, key)
	} else {
		d.rows[key] = s
	}
	d.recent = append(d.recent[max(0, len(d.recent)-4):], s)
	if d.gap {
		if s.deleted {
			d.missed[key] = s.n
		}
		return
	}
	d.wire = append(d.wire, s)
}

func (d *model) deliver() {
	if len(d.wire) == 0 {
		return
	}
	s := d.wire[0]
	d.wire = d.wire[1:]
	if c, ok := d.m.live(s.change()); ok {
		d.tell(s, c)
	}
}

// cut loses what is on the wire and all that commits until mend.
func (d *model) cut() {
	d.gap = true
	for _, s := range d.wire {
		if s.deleted {
			d.missed[s.key] = s.n
		}
	}
	d.wire = nil
}

// mend begins to deliver again, and first what was committed just before.
func (d *model) mend() {
	d.gap = false
	for _, s := range d.recent[d.rng.IntN(len(d.recent)+1):] {
		if c, ok := d.m.live(s.change()); ok {
			d.tell(s, c)
		}
	}
}

// restart begins anew, as after kill -9: what is there is known, and browsers have read it.
func (d *model) restart() {
	d.cut()
	d.m = newMerger(d.m.table, d.m.limit)
	d.m.floor = epoch.Add(time.Duration(d.n) * time.Millisecond)
	d.reads, d.start = nil, d.n
	clear(d.told)
	clear(d.missed)
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
func (d *model) tell(s state, c Change) {
	d.passed++
	last, had := d.told[s.key]
	switch {
	case had && last.n == s.n:
		d.t.Fatalf("commit %d of row %d was passed on twice", s.n, s.key)
	case had && last.n > s.n:
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
	for len(d.wire) > 0 {
		d.deliver()
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
	return &model{t: t, rng: rand.New(rand.NewPCG(seed, 1)), rows: map[int]state{}, told: map[int]state{}, missed: map[int]int{},
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
		case p < 400:
			d.commit()
		case p < 850:
			d.deliver()
		case p < 880:
			d.ask()
		case p < 940:
			d.answer()
		case p < 949:
			d.cut()
		case p < 950:
			d.restart()
		case p < 990:
			if d.gap {
				d.mend()
			}
		default:
			d.settle()
		}
	}
	d.settle()
	if d.repairs == 0 || d.passed < steps/10 {
		t.Errorf("the test saw too little: %d passed on, %d of them by reads", d.passed, d.repairs)
	}
	t.Logf("%d commits, %d changes passed on, %d of them found by reads", d.n, d.passed, d.repairs)
}
