// Command document runs the measuring programs and writes what they say into docs/benchmarks.md,
// between the marks that name them; the words around them stay.
//
//	go run ./testdata/bench/document                 everything at full size, about an hour: make bench
//	go run ./testdata/bench/document -scale small    a few minutes, to see that it works; the figures mean nothing
//	go run ./testdata/bench/document -only crowd     one part
//
// A part begins with <!-- bench NAME --> and ends with <!-- end NAME -->. The machine should be
// doing nothing else: its load before each part is written down beside the figures, and the program
// says so where it is busy.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/supabridge/supabridge/testdata/bench/bed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "document:", err)
		os.Exit(1)
	}
}

// part is one measurement: a program with its arguments, for each scale.
type part struct {
	name     string
	args     []string
	small    []string // what is added at the small scale; of a flag given twice the last counts
	pictures []string // that the program draws, with what they show
}

const plots = "docs/benchmarks"

var parts = []part{
	{
		"compare",
		[]string{"./testdata/bench/compare", "-duration", "30s", "-plots", plots},
		[]string{"-browsers", "1,10", "-duration", "10s"},
		[]string{
			"![Latency by the number of browsers](benchmarks/latency.svg)",
			"![Queries by the number of browsers](benchmarks/reads.svg)",
		},
	},
	{"budget", []string{"./testdata/bench/budget"}, []string{"-clients", "50", "-rate", "20", "-duration", "5s"}, nil},
	{"crowd", []string{"./testdata/bench/crowd"}, []string{"-clients", "300", "-rounds", "1"}, nil},
	{
		"sizes",
		[]string{"./testdata/bench/sizes", "-plot", filepath.Join(plots, "sizes.svg")},
		[]string{"-connections", "100,200", "-duration", "5s"},
		[]string{"![A message by the number of connections](benchmarks/sizes.svg)"},
	},
	{"outage", []string{"./testdata/bench/webhooks"}, []string{"-duration", "3s"}, nil},
	{
		"webhooks",
		[]string{"./testdata/bench/webhooks", "-nextjs", "-duration", "20s", "-rounds", "5"},
		[]string{"-duration", "3s", "-rounds", "1"},
		nil,
	},
	{
		"webhooks-far",
		[]string{"./testdata/bench/webhooks", "-nextjs", "-duration", "20s", "-rounds", "5", "-distance", "20ms"},
		[]string{"-duration", "3s", "-rounds", "1"},
		nil,
	},
}

// busy is the load average from which on figures are not to be trusted.
const busy = 0.5

func run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("document", flag.ContinueOnError)
	scale := fs.String("scale", "full", "full or small")
	only := fs.String("only", "", "names of parts, with commas between, in place of all")
	file := fs.String("file", "docs/benchmarks.md", "the document")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *scale != "full" && *scale != "small" {
		return fmt.Errorf("-scale: expected full or small, found %q", *scale)
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		return err
	}
	for _, p := range parts { // before anything takes time
		if text, err = replace(text, p.name, ""); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	binary, remove, err := bed.Binary(ctx, "")
	if err != nil {
		return err
	}
	defer remove()
	for _, p := range parts {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		table, err := p.measure(ctx, binary, *scale)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		if text, err = os.ReadFile(*file); err != nil { // each part is kept as soon as it is there
			return err
		}
		if text, err = replace(text, p.name, table); err != nil {
			return err
		}
		if err := os.WriteFile(*file, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// measure runs a part's program and gives what it wrote, under a line that says where and when.
func (p part) measure(ctx context.Context, binary, scale string) (string, error) {
	args := append([]string{"run"}, p.args...)
	if scale == "small" {
		args = append(args, p.small...)
	}
	before := loadAverage()
	if before > busy {
		fmt.Fprintf(os.Stderr, "document: the machine is busy: its load is %.2f\n", before)
	}
	fmt.Fprintf(os.Stderr, "document: go %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, "go", append(args, "-bin", binary)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return "", err
	}
	said := append([]string{strings.TrimSpace(out.String())}, p.pictures...)
	return fmt.Sprintf(
		"`go %s`, %s, %s, load before %.2f, %s\n\n%s",
		strings.Join(args, " "),
		began.UTC().Format("2006-01-02 15:04"),
		machine(ctx),
		before,
		time.Since(began).Round(time.Second),
		strings.Join(said, "\n\n"),
	), nil
}

// replace puts text between the marks of a name; with none it only looks whether they are there.
func replace(document []byte, name, text string) ([]byte, error) {
	begin, end := fmt.Sprintf("<!-- bench %s -->", name), fmt.Sprintf("<!-- end %s -->", name)
	before, rest, ok := strings.Cut(string(document), begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return nil, fmt.Errorf("the document has no %s … %s", begin, end)
	}
	if text == "" {
		return document, nil
	}
	return []byte(before + begin + "\n\n" + text + "\n\n" + end + after), nil
}

// machine says what the figures were taken on.
func machine(ctx context.Context) string {
	node, err := exec.CommandContext(ctx, "node", "--version").Output()
	if err != nil {
		node = []byte("none")
	}
	revision, err := exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		revision = []byte("unknown")
	}
	model := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf(
		"commit %s, %d × %s, %s, Node %s",
		strings.TrimSpace(string(revision)),
		runtime.NumCPU(),
		model,
		runtime.Version(),
		strings.TrimSpace(string(node)),
	)
}

// loadAverage is that of the last minute, 0 where it can't be had.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load
}
