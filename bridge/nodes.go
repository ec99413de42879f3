package bridge

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/supabridge/supabridge/bridge/auth"
	"github.com/supabridge/supabridge/bridge/cluster"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/feed"
	"github.com/supabridge/supabridge/bridge/presence"
	"github.com/supabridge/supabridge/bridge/publish"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/bridge/webhook"
	"github.com/supabridge/supabridge/config"
)

// newCluster makes this node's part in its cluster. It connects to nothing yet.
func (b *Bridge) newCluster() (*cluster.Cluster, error) {
	opts := b.clusterOptions()
	if c := b.cfg().Cluster; c.Redis != "" && c.Changes == "leader" {
		b.realtime = newSwitched(b)
		opts.Changes = &cluster.ChangesOptions{Realtime: b.realtime, Feed: ledFeed{b}}
	}
	made, err := cluster.New(opts)
	if err != nil {
		return nil, fmt.Errorf("bridge: %w", err)
	}
	return made, nil
}

func (b *Bridge) clusterOptions() cluster.Options {
	cfg := b.cfg()
	c, out := cfg.Cluster, cfg.Webhooks.Outgoing
	rooms := slices.Contains(out.Events, webhook.RoomOccupied) || slices.Contains(out.Events, webhook.RoomVacated)
	return cluster.Options{
		Redis: c.Redis.Reveal(), Mode: c.Mode, Prefix: c.Prefix, StreamLength: int64(c.StreamLength),
		MaxQueue: int(c.MaxQueue), MaxWait: c.MaxWait, Lease: c.Lease, Relay: c.Relay,
		Presence: cfg.Presence.Enabled, Rooms: out.URL != "" && rooms, RoomsGrace: roomsGrace(cfg),
		Handler: remote{b}, Emitter: b.emitter, Register: b.metrics.register, Log: b.log,
		Panicked: func(during string, defect any) { b.panicked(nil, during, defect) },
	}
}

// roomsGrace is for how long the rooms of a node that stopped still count as occupied: its browsers
// come back at others, and these then look their rooms over.
func roomsGrace(cfg *config.Config) time.Duration { return cfg.Presence.Grace + 2*webhook.RoomsEvery }

// remote brings about here what happens at other nodes. It is a cluster.Handler.
type remote struct{ b *Bridge }

func (r remote) Typing(conversation vocabulary.ID, socket string, who *auth.Identity, on bool) {
	switch {
	case !r.b.cfg().Typing.Enabled:
	case on:
		r.b.typing.Start(conversation, socket, who, false)
	default:
		r.b.typing.Stop(conversation.Text, socket, who)
	}
}

func (r remote) Read(conversation vocabulary.ID, who *auth.Identity, messages json.RawMessage) {
	r.b.tellRead(conversation, who, messages, emit.Audience{Remote: true})
}

func (r remote) Enter(tenant, socket string, who *auth.Identity, status string) {
	if status != "" {
		r.b.presence.SetStatus(tenant, socket, presence.Remote, who, status)
	} else {
		r.b.presence.Enter(tenant, socket, presence.Remote, who)
	}
}

func (r remote) Leave(tenant, socket string, who *auth.Identity, why cluster.Reason) {
	switch why {
	case cluster.Revoked:
		r.b.presence.Revoke(tenant, socket, who)
	case cluster.Goodbye:
		r.b.presence.Goodbye(tenant, socket, who)
	default:
		r.b.presence.Leave(tenant, socket, who)
	}
}

func (r remote) Attendances(f func(tenant, socket string, who *auth.Identity, status string)) {
	for _, s := range r.b.presence.LocalSockets() {
		f(s.Tenant, s.Key, s.Who, s.Status)
	}
}

func (r remote) StyleHeard(s vocabulary.Style) { r.b.speaks(s) }

func (r remote) Disconnect(whom publish.Whom) { sender(r).disconnectHere(whom) }

func (r remote) Reaches(e publish.Event) (sockets int) {
	for _, target := range sender(r).targets(e) {
		sockets += len(target.Local().Sockets())
	}
	return sockets
}

func (r remote) Matches(whom publish.Whom) int { return len(sender(r).meant(whom)) }

// ledFeed is the bridge's feed where one node leads. It is a cluster.Feed.
type ledFeed struct{ b *Bridge }

func (f ledFeed) Mark() feed.Mark {
	m := f.b.upstream.feed.Mark()
	if f.b.router.waiting.count > 0 {
		m.Began = time.Time{} // what it read is not all passed on yet
	}
	return m
}

func (f ledFeed) Tenants(c feed.Change) map[string]string { return f.b.router.tenantsFor(c) }

func (f ledFeed) Reached(p feed.Place) { f.b.passed(p) }

func (f ledFeed) LearnTenants(tenants map[string]string) {
	for conversation, tenant := range tenants {
		f.b.router.tenants.answered(conversation, tenant)
	}
}

func (f ledFeed) Over() <-chan struct{} { return f.b.upstream.over.Done() }
