package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// maxExamples bounds what is printed of each kind of failure.
const maxExamples = 5

// verdict is what came of one run. The counts are over all browsers; see the package comment for
// what each counts.
type verdict struct {
	name     string
	browsers int
	starts   int // of the bridge
	late     []string

	inserts, updates, moves, deletes, bursts int

	expected, lost int64 // final states of rows that had to come
	duplicated     int64
	disordered     int64
	wrongRooms     int // rooms that show something else than the database holds
	states, seen   int64
	told, found    int64
	connects       int64
	recovered      int64
	since          int64
	resyncs        int64
	fallbacks      int64
	unsettled      int // browsers that were not connected and in all rooms in the end
	examples       []string
	kinds          map[string]int // how many of each kind there were
	over           int            // that are not among examples
}

// judge compares what the browsers have seen with what was committed.
func judge(w *writer, profiles []profile, views []view, database map[string]map[string]int64) *verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := &verdict{
		browsers: len(views),
		inserts:  w.inserts,
		updates:  w.updates,
		moves:    w.moves,
		deletes:  w.deletes,
		bursts:   w.bursts,
		kinds:    make(map[string]int),
	}
	for i, seen := range views {
		in := make(map[string]bool)
		for _, room := range profiles[i].Rooms {
			in[room] = true
			v.rooms(i, room, database[room], seen.Rooms[room])
		}
		for _, state := range w.versions {
			if in[state.room] || in[state.before] {
				v.states++
			}
		}
		for id, row := range w.rows {
			if row.deleted || !in[row.room] {
				continue
			}
			v.expected++
			if got := max(seen.Got[id], seen.Opened[id]); got != row.n {
				v.lost++
				v.example(
					"browser %d: the last state of %s in %s is n=%d of %s, the last that an event brought n=%d",
					i,
					id,
					row.room,
					row.n,
					w.versions[row.n-1].at.UTC().Format("15:04:05.000"),
					got,
				)
			}
		}
		v.seen += seen.States
		v.duplicated += seen.Duplicated
		v.disordered += seen.Disordered
		v.told += seen.Told
		v.found += seen.Found
		v.connects += seen.Connects
		v.recovered += seen.Recovered
		v.since += seen.Since
		v.resyncs += seen.Resyncs
		v.fallbacks += seen.Fallbacks
		if !seen.Connected || seen.Pending > 0 {
			v.unsettled++
			v.example("browser %d: connected %t, %d joins or reads pending: %s", i, seen.Connected, seen.Pending, seen.Last)
		}
		for _, text := range seen.Examples {
			v.example("browser %d: %s", i, text)
		}
	}
	return v
}

// rooms compares what a browser shows of a room with what is in the database.
func (v *verdict) rooms(i int, room string, want, got map[string]int64) {
	wrong := false
	for id, n := range want {
		if got[id] != n {
			wrong = true
			v.example("browser %d: room %s shows n=%d of %s, the database has n=%d", i, room, got[id], id, n)
		}
	}
	for id, n := range got {
		if _, there := want[id]; !there {
			wrong = true
			v.example("browser %d: room %s shows n=%d of %s, which is not there", i, room, n, id)
		}
	}
	if wrong {
		v.wrongRooms++
	}
}

func (v *verdict) example(format string, args ...any) {
	if v.kinds[format]++; v.kinds[format] > maxExamples {
		v.over++
		return
	}
	v.examples = append(v.examples, fmt.Sprintf(format, args...))
}

// right tells whether everything is as promised.
func (v *verdict) right() bool {
	return v.lost == 0 && v.duplicated == 0 && v.disordered == 0 && v.wrongRooms == 0 && v.unsettled == 0 &&
		len(v.late) == 0 &&
		v.expected > 0
}

// percent is a share of a whole as text.
func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f %%", 100*float64(part)/float64(whole))
}

// print writes the verdicts beside each other.
func print(out io.Writer, verdicts []*verdict) {
	t := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	row := func(name string, value func(v *verdict) any) {
		fmt.Fprint(t, name)
		for _, v := range verdicts {
			fmt.Fprintf(t, "\t%v", value(v))
		}
		fmt.Fprintln(t)
	}
	row("", func(v *verdict) any { return v.name })
	row("browsers", func(v *verdict) any { return v.browsers })
	row(
		"inserts, updates, moves, deletes",
		func(v *verdict) any { return fmt.Sprint(v.inserts, v.updates, v.moves, v.deletes) },
	)
	row("bridge started", func(v *verdict) any { return v.starts })
	row("connections (recovered)", func(v *verdict) any { return fmt.Sprintf("%d (%d)", v.connects, v.recovered) })
	row("joins with since (not complete)", func(v *verdict) any { return fmt.Sprintf("%d (%d)", v.since, v.fallbacks) })
	row("resyncs received", func(v *verdict) any { return v.resyncs })
	row("final states due", func(v *verdict) any { return v.expected })
	row("LOST", func(v *verdict) any { return fmt.Sprintf("%d (%s)", v.lost, percent(v.lost, v.expected)) })
	row("DUPLICATED", func(v *verdict) any { return v.duplicated })
	row("OUT OF ORDER", func(v *verdict) any { return v.disordered })
	row("rooms unlike the database", func(v *verdict) any { return v.wrongRooms })
	row("browsers not settled", func(v *verdict) any { return v.unsettled })
	row("SIGTERM not obeyed in time", func(v *verdict) any { return len(v.late) })
	row("all states committed", func(v *verdict) any { return v.states })
	row("of these no event", func(v *verdict) any {
		return fmt.Sprintf("%d (%s)", max(0, v.states-v.seen), percent(max(0, v.states-v.seen), v.states))
	})
	row("deletes told, found by reading", func(v *verdict) any { return fmt.Sprint(v.told, ", ", v.found) })
	_ = t.Flush() // stdout
	for _, v := range verdicts {
		for _, text := range append(v.late, v.examples...) {
			fmt.Fprintf(out, "  %s: %s\n", v.name, text)
		}
		if v.over > 0 {
			fmt.Fprintf(out, "  %s: and %d more\n", v.name, v.over)
		}
	}
}
