package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/supabridge/supabridge/phoenix"
)

// realtime finds out whether changes would come, by joining as the bridge does.
func (p *patient) realtime(ctx context.Context) {
	s := p.cfg.Supabase
	client, err := p.dial()
	if err != nil {
		p.add(
			Finding{
				Check: "realtime",
				About: s.RealtimeURL,
				Level: Fail,
				Text:  err.Error(),
				Fix:   yaml("supabase.realtime_url", `""`),
			},
		)
		return
	}
	defer p.farewell(ctx, client)
	var tables []string
	for _, m := range p.mappedTables() {
		if m.live {
			tables = append(tables, m.name)
		}
	}
	err = p.subscribe(ctx, client, "supabridge:doctor", tables...)
	if err == nil {
		p.good("realtime", "", "the handshake, the join and the subscription to %s work", strings.Join(tables, " and "))
		p.joinLane(ctx, client)
		return
	}
	var told *phoenix.Error
	if errors.As(err, &told) && told.Op == phoenix.OpSubscribe && told.Class == phoenix.Permanent {
		p.unpublished(ctx, client, tables, told)
		return
	}
	p.add(p.realtimeFailure(err))
}

func (p *patient) dial() (*phoenix.Client, error) {
	s := p.cfg.Supabase
	version := phoenix.V2
	if s.VSN == phoenix.V1.String() {
		version = phoenix.V1
	}
	return phoenix.NewClient(s.URL, phoenix.Options{
		APIKey: s.ServiceRoleKey.Reveal(), Endpoint: s.RealtimeURL, Version: version, HandshakeTimeout: p.opts.Timeout,
		JoinTimeout: s.JoinTimeout, LiveTimeout: liveWait,
		Backoff: phoenix.Backoff{Min: time.Hour, Max: time.Hour}, // one attempt is what is wanted
	})
}

// liveWait is how long a subscription may take after the join: a project that was idle takes some
// seconds.
const liveWait = 30 * time.Second

func (p *patient) farewell(ctx context.Context, client *phoenix.Client) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = client.Close(ctx) // all that can fail is being quick
}

// subscribe joins a channel with the changes of tables and waits until they would come, or it is
// told why not.
func (p *patient) subscribe(ctx context.Context, client *phoenix.Client, topic string, tables ...string) error {
	opts := phoenix.ChannelOptions{Private: true, Queue: 16} // as the daemon does
	for _, table := range tables {
		opts.Changes = append(opts.Changes, phoenix.Binding{Event: phoenix.All, Schema: p.cfg.Supabase.Schema, Table: table})
	}
	channel, err := client.Channel(topic, opts)
	if err != nil {
		return err
	}
	return p.live(ctx, channel)
}

// live waits for a channel's first success or failure.
func (p *patient) live(ctx context.Context, channel *phoenix.Channel) error {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout+p.cfg.Supabase.JoinTimeout+liveWait)
	defer cancel()
	if err := channel.Subscribe(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case event, open := <-channel.Events():
			if !open {
				return phoenix.ErrClosed
			}
			switch e := event.(type) {
			case *phoenix.Live:
				return nil
			case *phoenix.Retrying:
				return e.Err
			case *phoenix.Lost:
				return e.Err
			case *phoenix.SystemError:
				if e.Class == phoenix.Permanent {
					return &phoenix.Error{Op: phoenix.OpSubscribe, Topic: channel.Topic(), Reason: e.Message, Class: e.Class}
				}
			case *phoenix.Closed:
				if e.Err != nil {
					return e.Err
				}
				return phoenix.ErrClosed
			}
		}
	}
}

// unpublished finds the tables whose changes can't be subscribed to: the error for all of them
// names none.
func (p *patient) unpublished(ctx context.Context, client *phoenix.Client, tables []string, all *phoenix.Error) {
	found := false
	for i, table := range tables {
		err := p.subscribe(ctx, client, "supabridge:doctor:"+strconv.Itoa(i), table)
		var told *phoenix.Error
		if err == nil || !errors.As(err, &told) || !strings.Contains(told.Reason, "check Realtime is enabled") {
			continue
		}
		found = true
		p.add(
			Finding{
				Check: "publication",
				About: table,
				Level: Fail,
				Text:  "it is not in the publication supabase_realtime: none of its changes comes, nor any of the other tables of the same subscription",
				Fix:   "alter publication supabase_realtime add table " + p.sql(table) + ";",
			},
		)
	}
	if !found {
		p.add(p.realtimeFailure(all))
	}
}

func (p *patient) realtimeFailure(err error) Finding {
	f := Finding{Check: "realtime", Level: Fail, Text: err.Error()}
	var told *phoenix.Error
	if !errors.As(err, &told) {
		return f
	}
	switch {
	case told.Op == phoenix.OpConnect && told.Status == http.StatusTooManyRequests:
		f.Check, f.Fix = "quota", "# close other connections, or raise the project's quota of connections and joins: dashboard, Project Settings, Realtime"
	case told.Op == phoenix.OpConnect && told.Status == http.StatusForbidden:
		f.Fix = "# enable Realtime: dashboard, Project Settings, Realtime"
	case told.Op == phoenix.OpConnect && told.Status == http.StatusUnauthorized:
		f.Fix = "SUPABASE_SERVICE_ROLE_KEY=# one that Realtime takes: the legacy service_role JWT works with every version"
	case told.Op == phoenix.OpConnect:
		f.Fix = yaml("supabase.realtime_url", "# where Realtime answers; empty derives it from supabase.url")
	case told.Op == phoenix.OpJoin:
		f.Check = "join"
	case told.Op == phoenix.OpSubscribe:
		f.Check = "subscription"
		f.Fix = "# Realtime can't read the database's log: see dashboard, Logs, Realtime"
	}
	return f
}

// quota asks how many events a second are left. The request broadcasts nothing: it has no message
// in it.
func (p *patient) quota(ctx context.Context) {
	key := p.cfg.Supabase.ServiceRoleKey.Reveal()
	got, err := p.http.ask(ctx, http.MethodPost, p.cfg.Supabase.URL+"/realtime/v1/api/broadcast", `{"messages":[]}`,
		"apikey", key, "Authorization", "Bearer "+key, "Content-Type", "application/json")
	if err == nil && got.status == http.StatusTooManyRequests {
		p.add(
			Finding{
				Check: "quota",
				Level: Fail,
				Text:  "Realtime refuses: too many events a second",
				Fix:   "# send less, or raise the quota: dashboard, Project Settings, Realtime",
			},
		)
		return
	}
	limit, errLimit := strconv.Atoi(got.header.Get("X-Rate-Limit"))
	left, errLeft := strconv.Atoi(got.header.Get("X-Rate-Limit-Remaining"))
	switch {
	case err != nil || errLimit != nil || errLeft != nil:
		p.add(
			Finding{
				Check: "quota",
				Level: Unknown,
				Text:  "the project does not say how many events a second it allows",
				Look:  "# dashboard, Reports, Realtime",
			},
		)
	case left*5 < limit:
		p.add(
			Finding{
				Check: "quota",
				Level: Warn,
				Text:  fmt.Sprintf("of %d events a second %d are left", limit, left),
				Fix:   "# raise it: dashboard, Project Settings, Realtime",
			},
		)
	default:
		p.good("quota", "", "%d of %d events a second are left", left, limit)
	}
}
