package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/supabridge/supabridge/bridge/outbox"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/testdata/bench/bed"
)

// Of the posts, one in ten is the status of a message sent before the outage; the others are
// messages.
const statusEvery = 10

// tenant is the distributor of the seed that the customers are made for.
const tenant = "d1000000-0000-4000-8000-000000000001"

// openProject opens a stand-in with the customers' conversations and the messages that statuses
// will be of.
func (o *options) openProject(sent int) (*bed.Project, error) {
	project, err := bed.Open(standin.Options{Limits: standin.Limits{MaxBytes: 4 << 30}})
	if err != nil {
		return nil, err
	}
	if o.distance > 0 {
		project.Requests = func(r *http.Request) { // Realtime's connection too, once
			select {
			case <-time.After(o.distance):
			case <-r.Context().Done():
			}
		}
	}
	err = project.Server.DB().Tx(func(tx *standin.Tx) error {
		var first json.RawMessage
		for n := range o.customers {
			row, err := tx.Insert("conversations", map[string]any{"distributor_id": tenant, "customer_phone": phone(n)})
			if err != nil {
				return err
			}
			if first == nil {
				first = row["id"]
			}
		}
		for n := range sent {
			row := map[string]any{
				"conversation_id":     first,
				"content":             "sent",
				"status":              "SENT",
				"external_message_id": sentSid(n),
			}
			if _, err := tx.Insert("messages", row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, project.Close())
	}
	return project, project.Up()
}

func sentSid(n int) string     { return fmt.Sprintf("SMsent%026d", n) }
func receivedSid(n int) string { return fmt.Sprintf("SM%030d", n) }

// startBridge starts the program with Twilio's webhooks on and waits until it takes them.
func (o *options) startBridge(ctx context.Context, project *bed.Project) (p *bed.Process, address string, err error) {
	port, err := bed.FreePort()
	if err != nil {
		return nil, "", err
	}
	address = "http://127.0.0.1:" + port
	env := append(
		project.BridgeEnv(port),
		"SUPABRIDGE_WEBHOOKS_TWILIO_AUTH_TOKENS="+authToken,
		"SUPABRIDGE_WEBHOOKS_TWILIO_PUBLIC_URLS="+publicBase,
		"SUPABRIDGE_WEBHOOKS_OUTBOX_PATH="+o.outbox(),
		"SUPABRIDGE_WEBHOOKS_OUTBOX_RETRY_MAX=5s", // so that the time to store all is not that of a wait
	)
	if p, err = bed.Start("supabridge", "", env, nil, o.binary, "run"); err != nil {
		return nil, "", err
	}
	if err := p.Await(ctx, address+"/readyz"); err != nil {
		p.End()
		return nil, "", err
	}
	return p, address, nil
}

func (o *options) outbox() string { return filepath.Join(o.folder, "outbox.db") }

// outage posts while Supabase is away and judges what is stored afterwards.
func (o *options) outage(ctx context.Context) (err error) {
	total := int(o.duration.Seconds() * float64(o.rate))
	statuses := (total + statusEvery - 1) / statusEvery
	project, err := o.openProject(statuses)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, project.Close()) }()
	bridge, address, err := o.startBridge(ctx, project)
	if err != nil {
		return err
	}
	defer bridge.End()
	before, err := bridge.Usage()
	if err != nil {
		return err
	}

	project.Down()
	p := newPoster(address+hooksPath, publicBase+hooksPath, o.requestTime)
	posted := p.flood(ctx, o.rate, o.duration, func(n int) webhook {
		if n%statusEvery == 0 {
			return delivered(sentSid(n/statusEvery), n%o.customers)
		}
		return message(receivedSid(n), n%o.customers)
	})
	after, err := bridge.Usage()
	if err != nil {
		return err
	}
	fmt.Fprintf(
		os.Stderr,
		"Supabase down: %d posted, %d answered 200; answers: %s\n",
		posted,
		len(p.answer),
		p.answers.Quantiles(),
	)
	for reason, n := range p.wrong {
		fmt.Fprintf(os.Stderr, "               %d: %s\n", n, reason)
	}

	if err := project.Up(); err != nil {
		return err
	}
	back := time.Now()
	waiting, err := o.await(ctx)
	if err != nil {
		return fmt.Errorf("%w; the bridge says:\n%s", err, bridge.Output())
	}
	took := time.Since(back)
	drained, err := bridge.Usage()
	if err != nil {
		return err
	}
	q := p.answers.Quantiles()
	fmt.Printf(
		"| posted while Supabase was away | answered 200 | answer p50 | p95 | p99 | longest | bridge's CPU | memory | then stored | bridge's CPU | memory |\n|---|---|---|---|---|---|---|---|---|---|---|\n",
	)
	fmt.Printf(
		"| %d in %s | %d | %s | %s | %s | %s | %.1f s | %d MiB | in %.1f s, %.0f a second | %.1f s | %d MiB |\n\n",
		posted,
		o.duration,
		len(p.answer),
		bed.Milliseconds(q.P50),
		bed.Milliseconds(q.P95),
		bed.Milliseconds(
			q.P99,
		),
		bed.Milliseconds(q.Max),
		(after.CPU - before.CPU).Seconds(),
		after.PeakRSS>>20,
		took.Seconds(),
		float64(len(p.answer))/took.Seconds(),
		(drained.CPU - after.CPU).Seconds(),
		drained.PeakRSS>>20,
	)
	return o.judge(project, p, posted, waiting)
}

// await waits until nothing waits in the outbox any more, and gives what was given up.
func (o *options) await(ctx context.Context) (dead int, err error) {
	ctx, cancel := context.WithTimeout(ctx, o.drain)
	defer cancel()
	box := outbox.Reach(o.outbox())
	for {
		items, err := box.List(ctx, false, 0, 1)
		if err != nil {
			return 0, err
		}
		if len(items) == 0 {
			items, err := box.List(ctx, true, 0, 0)
			return len(items), err
		}
		select {
		case <-ctx.Done():
			return 0, errors.New("the outbox is not empty in time")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// judge holds what is in the tables against what was answered.
func (o *options) judge(project *bed.Project, p *poster, posted, dead int) error {
	copies := make(map[string]int)
	unwritten := 0
	err := project.Server.DB().Tx(func(tx *standin.Tx) error {
		rows, err := tx.Select("messages", nil)
		for _, row := range rows {
			var sid, status string
			_ = json.Unmarshal(row["external_message_id"], &sid) // null where the seed has none
			_ = json.Unmarshal(row["status"], &status)
			if sid == "" {
				continue
			}
			copies[sid]++
			if p.answer[sid+" delivered"] && status != "DELIVERED" {
				unwritten++
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	lost, twice, unasked := 0, 0, 0
	for n := range posted {
		if n%statusEvery == 0 {
			delete(copies, sentSid(n/statusEvery))
			continue
		}
		sid := receivedSid(n)
		switch {
		case copies[sid] == 0 && p.answer[sid]:
			lost++
		case copies[sid] > 1:
			twice++
		}
		delete(copies, sid)
	}
	for range copies {
		unasked++
	}
	fmt.Printf(
		"Judged: LOST %d, TWICE %d, STATUS NOT WRITTEN %d, GIVEN UP %d, NOT ANSWERED 200 %d, UNASKED %d of %d\n",
		lost,
		twice,
		unwritten,
		dead,
		posted-len(p.answer),
		unasked,
		posted,
	)
	if lost+twice+unwritten+dead+posted-len(p.answer)+unasked > 0 {
		return errors.New("the promise is broken")
	}
	return nil
}
