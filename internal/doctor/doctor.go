// Package doctor examines everything a bridge depends on, and says of each thing that is wrong how
// to mend it: the line of SQL or YAML.
//
//	report := doctor.Examine(ctx, cfg, doctor.Options{})
//	report.WriteText(os.Stdout)
//
// It writes nothing: no row, no broadcast to browsers, no file that stays. What it knows of the
// database it knows by asking as the bridge does, with the keys of the configuration; what only the
// catalog tells (replica identity, indexes, triggers, whether row level security is on) it asks the
// function that
// `supabridge sql` installs, or the database itself where it is given an address. Without either it says "unknown", and how to look.
//
// A thing that others depend on and that is broken ends the examination of those: of a host that
// has no address no more is said.
//
// Examine starts goroutines only for the connections it opens, and has ended them when it returns.
package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/supabridge/supabridge/bridge/migration"
	"github.com/supabridge/supabridge/config"
)

// Level says how bad a finding is.
type Level string

// The levels. Only Fail is a reason to stop; Unknown is what could not be found out.
const (
	OK      Level = "ok"
	Hint    Level = "hint" // it works, and could be better
	Unknown Level = "unknown"
	Warn    Level = "warn" // it works, and will be trouble
	Fail    Level = "fail" // it does not work, or is dangerous
)

// Finding is what was found out about one thing.
type Finding struct {
	// Check is the thing, such as dns or publication: it stays the same from version to version.
	Check string `json:"check"`
	// About names which, where there are several: a table, a host, a key of the configuration.
	About string `json:"about,omitempty"`
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Fix is what mends it, in lines of SQL, YAML or the shell; Look how to find out what is unknown.
	Fix  string `json:"fix,omitempty"`
	Look string `json:"look,omitempty"`
}

// Report is everything that was found, in the order it was looked at.
type Report struct {
	Findings []Finding `json:"findings"`
}

// Healthy tells whether nothing failed.
func (r *Report) Healthy() bool { return r.count(Fail) == 0 }

func (r *Report) count(level Level) int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

// WriteJSON writes the report for programs.
func (r *Report) WriteJSON(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(struct {
		Healthy bool `json:"healthy"`
		*Report
	}{r.Healthy(), r})
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		level := string(f.Level)
		if f.Level == Fail {
			level = "FAIL"
		}
		fmt.Fprintf(&b, "%-8s %-18s %s\n", level, f.Check, strings.TrimPrefix(f.About+": ", ": ")+f.Text)
		for _, more := range []struct{ what, text string }{{"mend:", f.Fix}, {"look:", f.Look}} {
			for i, line := range strings.Split(more.text, "\n") {
				if more.text == "" {
					break
				}
				what := more.what
				if i > 0 {
					what = ""
				}
				fmt.Fprintf(&b, "%27s %-5s %s\n", "", what, line)
			}
		}
	}
	fmt.Fprintf(&b, "\n%d failed, %d to warn of, %d unknown, %d hints, %d good\n",
		r.count(Fail), r.count(Warn), r.count(Unknown), r.count(Hint), r.count(OK))
	_, err := io.WriteString(w, b.String())
	return err
}

// Options of an examination. The zero value is usable.
type Options struct {
	// URL is where browsers reach the daemon, as https://realtime.example.com; empty means where this
	// machine does, by the configuration's listen.
	URL string
	// Database is the address of the project's database, as postgres://…, for what only the catalog
	// tells. Empty asks the installed function.
	Database string
	// Timeout bounds each question; 0 means DefaultTimeout.
	Timeout time.Duration
}

// DefaultTimeout bounds one question to the project.
const DefaultTimeout = 10 * time.Second

// patient is one examination.
type patient struct {
	cfg       *config.Config
	opts      Options
	report    Report
	http      *client
	described map[string][]string // the primary keys, where the REST API was asked for them
	facts     *facts              // nil where they are not known
	lane      *migration.Lane     // nil where there is none that is guarded
}

func (p *patient) add(f Finding) { p.report.Findings = append(p.report.Findings, f) }

func (p *patient) good(check, about, format string, args ...any) {
	p.add(Finding{Check: check, About: about, Level: OK, Text: fmt.Sprintf(format, args...)})
}

// Examine looks at everything that the configuration, which must be valid, depends on. It takes at
// most some timeouts of the options; where ctx ends, what is asked then counts as unanswered.
func Examine(ctx context.Context, cfg *config.Config, opts Options) *Report {
	if opts.Timeout == 0 {
		opts.Timeout = DefaultTimeout
	}
	p := &patient{cfg: cfg, opts: opts, http: newClient(opts.Timeout)}
	defer p.http.close()
	p.files()
	p.outbox()
	if p.reach(ctx) && p.keys(ctx) {
		p.signing(ctx)
		if p.tables(ctx) {
			p.catalog(ctx)
			p.times(ctx)
			p.guard(ctx)
			p.realtime(ctx)
		}
		p.quota(ctx)
	}
	p.redis(ctx)
	p.browsers(ctx)
	return &p.report
}
