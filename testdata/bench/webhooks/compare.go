package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/supabridge/supabridge/testdata/bench/bed"
)

// server is one that takes webhooks.
type server struct {
	name    string
	process *bed.Process
	address string // that the webhooks are posted to
	answers []bed.Quantiles
	cpu     time.Duration
	taken   int
	refused int
}

// compare posts to the bridge and to the route in turn, a round each, so that what else the machine
// does meets both.
func (o *options) compare(ctx context.Context) (err error) {
	project, err := o.openProject(0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, project.Close()) }()
	bridge, address, err := o.startBridge(ctx, project)
	if err != nil {
		return err
	}
	defer bridge.End()
	next, route, err := o.startRoute(ctx, project)
	if err != nil {
		return err
	}
	defer next.End()
	servers := []*server{
		{name: "supabridge", process: bridge, address: address + hooksPath},
		{name: "Next.js", process: next, address: route},
	}
	posted := 0
	for _, s := range servers { // once before it counts: what is compiled and connected with the first requests
		if err := o.round(ctx, s, min(o.duration, 5*time.Second), &posted); err != nil {
			return err
		}
		*s = server{name: s.name, process: s.process, address: s.address}
	}
	for n := range o.rounds {
		for i := range servers {
			s := servers[(i+n)%len(servers)]
			if err := o.round(ctx, s, o.duration, &posted); err != nil {
				return err
			}
		}
		if _, err := o.await(ctx); err != nil {
			return err
		}
	}
	report(servers)
	return nil
}

// round posts to one server for a while.
func (o *options) round(ctx context.Context, s *server, duration time.Duration, posted *int) error {
	before, err := s.process.Usage()
	if err != nil {
		return err
	}
	p := newPoster(s.address, publicBase+hooksPath, o.requestTime)
	first := *posted
	*posted += p.flood(ctx, o.rate, duration, func(n int) webhook { return message(receivedSid(first+n), n%o.customers) })
	after, err := s.process.Usage()
	if err != nil {
		return err
	}
	q := p.answers.Quantiles()
	s.answers = append(s.answers, q)
	s.cpu += after.CPU - before.CPU
	s.taken += len(p.answer)
	s.refused += *posted - first - len(p.answer)
	fmt.Fprintf(os.Stderr, "%-10s %d posted, %d answered 200: %s\n", s.name, *posted-first, len(p.answer), q)
	for reason, n := range p.wrong {
		fmt.Fprintf(os.Stderr, "           %d: %s\n", n, reason)
	}
	return ctx.Err()
}

// report prints the medians of the rounds and their ratios.
func report(servers []*server) {
	fmt.Printf(
		"\n| median of %d rounds | p50 | p95 | p99 | longest | CPU for 1,000 | not answered 200 |\n|---|---|---|---|---|---|---|\n",
		len(servers[0].answers),
	)
	var medians []bed.Quantiles
	for _, s := range servers {
		m := bed.Medians(s.answers)
		medians = append(medians, m)
		fmt.Printf(
			"| %s | %s | %s | %s | %s | %.2f s | %d |\n",
			s.name,
			bed.Milliseconds(m.P50),
			bed.Milliseconds(m.P95),
			bed.Milliseconds(m.P99),
			bed.Milliseconds(m.Max),
			s.cpu.Seconds()/float64(max(s.taken, 1))*1000,
			s.refused,
		)
	}
	ratio := func(a, b time.Duration) string { return fmt.Sprintf("%.1f", float64(b)/float64(max(a, 1))) }
	fmt.Printf(
		"| Next.js to supabridge | %s | %s | %s | %s | %.1f | |\n",
		ratio(medians[0].P50, medians[1].P50),
		ratio(medians[0].P95, medians[1].P95),
		ratio(medians[0].P99, medians[1].P99),
		ratio(medians[0].Max, medians[1].Max),
		servers[1].cpu.Seconds()/float64(
			max(servers[1].taken, 1),
		)/(servers[0].cpu.Seconds()/float64(max(servers[0].taken, 1))),
	)
}

// startRoute serves the built app, in which the route is.
func (o *options) startRoute(ctx context.Context, project *bed.Project) (p *bed.Process, address string, err error) {
	app, err := filepath.Abs(o.app)
	if err != nil {
		return nil, "", err
	}
	if _, err := os.Stat(filepath.Join(app, ".next", "BUILD_ID")); err != nil {
		return nil, "", fmt.Errorf("the app is not built: npm --prefix %s run build", o.app)
	}
	port, err := bed.FreePort()
	if err != nil {
		return nil, "", err
	}
	address = "http://127.0.0.1:" + port
	env := []string{
		"NODE_ENV=production", "NEXT_TELEMETRY_DISABLED=1", "NEXT_PUBLIC_SUPABASE_URL=" + project.URL(), "NEXT_PUBLIC_SUPABASE_ANON_KEY=" + project.Server.AnonKey(),
		"NEXT_PUBLIC_SOCKET_URL=" + project.URL(), // the page asks for it; nobody connects there
		"SUPABASE_SERVICE_ROLE_KEY=" + project.Server.ServiceKey(), "TWILIO_AUTH_TOKEN=" + authToken, "TWILIO_WEBHOOK_URL=" + publicBase + hooksPath,
	}
	if p, err = bed.Start("Next.js", app, env, nil, "node", "node_modules/next/dist/bin/next", "start", "-H", "127.0.0.1", "-p", port); err != nil {
		return nil, "", err
	}
	if err := p.Await(ctx, address+"/"); err != nil {
		p.End()
		return nil, "", err
	}
	return p, address + "/api/twilio", nil
}
