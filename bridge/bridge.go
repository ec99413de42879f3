// Package bridge brings Supabase to browsers that speak Socket.IO: row changes in from Realtime,
// events out to rooms; rooms entered only by those whom Row Level Security lets read; typing and
// presence among them.
//
//	b, err := bridge.New(cfg, log)
//	go b.Run(ctx)                       // follows Supabase until ctx ends
//	http.ListenAndServe(cfg.Listen, b.Handler())
//
// Run's own goroutine owns the feed and everything a change needs on its way (package feed,
// route.go, tenants.go); phoenix's client and socketio's server have theirs, and all have ended
// when it returns. What sockets do runs on the goroutines that socketio gives them.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/bridge/access"
	"github.com/supabridge/supabridge/bridge/cluster"
	"github.com/supabridge/supabridge/bridge/emit"
	"github.com/supabridge/supabridge/bridge/ops"
	"github.com/supabridge/supabridge/bridge/ops/tail"
	"github.com/supabridge/supabridge/bridge/presence"
	"github.com/supabridge/supabridge/bridge/ratelimit"
	"github.com/supabridge/supabridge/bridge/realtimeshare"
	"github.com/supabridge/supabridge/bridge/supabase"
	"github.com/supabridge/supabridge/bridge/typing"
	"github.com/supabridge/supabridge/bridge/vocabulary"
	"github.com/supabridge/supabridge/bridge/webhook"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/admin"
)

// Bridge is one bridge: one Supabase project, one Socket.IO endpoint.
type Bridge struct {
	settings atomic.Pointer[settings] // see reload.go; read by cfg and words
	reload   sync.Mutex               // held by Reload
	log      zerolog.Logger
	stop     context.CancelFunc // ends what New started
	started  time.Time
	problems atomic.Pointer[ops.Problems] // nil where none are kept

	verifier   *verifier
	authorizer *access.Authorizer
	rechecker  *access.Rechecker
	homes      *homes
	guard      *guard
	rows       *supabase.Client
	router     *router
	typing     *typing.Tracker
	emitters   sync.WaitGroup    // goroutines that pass typing and presence on
	presence   *presence.Tracker // nil where presence is off
	unknown    *unknownEvents
	emitter    *emit.Emitter
	metrics    *metrics
	traces     *ops.Traces
	resync     *resyncer
	tap        tail.Tap
	upstream   *upstream
	keys       *keys
	lane       *laneWatch
	webhooks   *webhook.Webhooks
	sharer     *realtimeshare.Sharer // nil where nothing is shared over Realtime
	cluster    *cluster.Cluster
	realtime   *switched     // hears Realtime where one node leads; else nil
	serial     atomic.Uint64 // of connections
	stray      atomic.Int64  // until when nobody is taken up from another node, in nanoseconds since 1970; 0: they are

	io     *socketio.Server
	admin  *admin.Admin // nil where it is off
	spaces []*socketio.Namespace
}

// New builds a bridge from a valid configuration. It connects to nothing yet, except that published
// signing keys are asked for where tokens are verified by them. Run ends what it started; a bridge
// that is never run is ended by Close.
func New(cfg *config.Config, log zerolog.Logger) (*Bridge, error) {
	ctx, stop := context.WithCancel(context.Background())
	b := &Bridge{log: log, stop: stop, started: time.Now().UTC(), metrics: newMetrics()}
	b.settings.Store(&settings{cfg: cfg})
	b.emitter = b.newEmitter()
	b.unknown = newUnknownEvents(log, b.metrics.unknown)
	b.lane = newLaneWatch(b)
	b.lane.watch(b.metrics.registry)
	b.resync = &resyncer{log: log, ask: func(since time.Time, reason string) {
		payload := object("since", since.UTC().Format(time.RFC3339Nano), "reason", reason)
		b.emitter.Everybody(b.cfg().Vocabulary.ResyncEvent, payload)
		b.cluster.RelayAll(b.cfg().Vocabulary.ResyncEvent, payload)
	}}
	if err := b.build(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bridge) build(ctx context.Context) (err error) {
	cfg := b.cfg()
	first, err := compile(cfg)
	if err != nil {
		return err
	}
	b.settings.Store(first)
	if b.traces, err = ops.NewTraces(ops.TracesOptions{
		URL: cfg.Ops.Traces.URL, OneIn: cfg.Ops.Traces.OneIn, MessagesTable: cfg.Tables.Messages.Name,
		SidColumn: cfg.Webhooks.Twilio.Store.SidColumn,
		Failed:    func(err error) { b.log.Warn().Err(err).Msg("spans could not be sent to ops.traces.url") },
	}); err != nil {
		return err
	}
	if b.verifier, err = newVerifier(ctx, b.cfg, b.log); err != nil {
		return err
	}
	if b.rows, err = supabase.New(cfg.Supabase.URL, cfg.Supabase.ServiceRoleKey.Reveal(), supabase.Options{
		AnonKey: cfg.Supabase.AnonKey.Reveal(), Schema: cfg.Supabase.Schema, Timeout: cfg.Supabase.RequestTimeout,
		Answered: b.metrics.upstream.Answered,
	}); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	if b.authorizer, err = access.New(access.Options{
		Settings: access.Compile(cfg), Rows: b.rows, Registry: b.metrics.register,
	}); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	b.rechecker, b.homes = access.NewRechecker(b.authorizer, b.metrics.register, b.log), newHomes(b)
	b.guard = newGuard(b)
	tenants, err := newTenants(cfg, b.rows)
	if err != nil {
		return err
	}
	if b.router, err = newRouter(b.cfg, b.words, tenants, b.log, b.emit, b.resync.request); err != nil {
		return err
	}
	b.router.waiting.watch(b.metrics.register)
	b.typing = typing.New(typingOptions(cfg))
	b.emitters.Go(func() { b.typing.Run(ctx, b.tellTyping) })
	b.router.moved, b.router.occupied, b.router.wrote = b.rechecker.ConversationMoved, b.occupied, b.typing.Wrote
	if cfg.Presence.Enabled {
		if b.presence, err = presence.New(presenceOptions(cfg)); err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
		b.emitters.Go(func() { b.presence.Run(ctx, b.tellPresence) })
	}
	if b.cluster, err = b.newCluster(); err != nil {
		return err
	}
	b.keys = newKeys(b)
	if b.upstream, err = b.newUpstream(); err != nil {
		return err
	}
	if b.webhooks, err = b.newWebhooks(); err != nil {
		return err
	}
	b.sharer = b.newSharer()
	if err = b.listen(); err != nil {
		return err
	}
	if b.admin, err = b.newAdmin(); err != nil {
		return err
	}
	ops.WatchFeed(b.metrics.register, b.upstream.feed)
	b.metrics.sockets.Watch(b.metrics.register, b.io, b.spaces, emit.StyleRoom)
	if cfg.Auth.InsecureDev {
		b.log.Warn().
			Msg("auth.insecure_dev is on: pages of this machine are let into every room without a token. Never where others can reach this port")
	}
	return nil
}

// Handler serves the Socket.IO endpoint, /healthz and /readyz, and the webhooks and publishing
// paths that are configured.
func (b *Bridge) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", ops.Healthz)
	mux.HandleFunc("GET /readyz", b.readyz())
	for _, path := range b.cfg().SocketIO.Paths {
		endpoint := ratelimit.RealAddress(b.guard.local(b.io), func() []netip.Prefix { return b.limits().Proxies })
		mux.Handle(path, endpoint)
		mux.Handle(path+"/", endpoint)
	}
	b.webhooks.Mount(mux)
	b.mountPublishing(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		ops.WriteJSON(
			w,
			http.StatusNotFound,
			map[string]string{"error": "there is nothing here; the Socket.IO endpoint is at " + b.cfg().SocketIO.Paths[0]},
		)
	})
	return bounded(mux, b.cfg().SocketIO.Paths)
}

// Run follows Supabase until ctx ends. Then it closes the sockets, within ops.shutdown_timeout,
// tells each what comes until its turn, and returns nil. It returns an error only where trying
// again can't help: a misconfiguration. Run a bridge once.
func (b *Bridge) Run(ctx context.Context) error {
	defer b.Close()
	stopHooks := b.runHooks(ctx)
	following, unfollow := context.WithCancel(context.WithoutCancel(ctx))
	defer unfollow()
	var err error
	var led sync.WaitGroup
	led.Go(func() { b.keys.run(following) })
	if err := b.keys.await(ctx); err != nil {
		unfollow()
		led.Wait()
		stopHooks()
		return fmt.Errorf("bridge: %w", err)
	}
	led.Go(func() { b.cluster.Changes().Run(following) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err = b.upstream.follow(following)
	}()
	var refused error
	select {
	case <-ctx.Done():
	case <-ended:
	case refused = <-b.keys.refused:
		b.log.Error().Err(refused).Msg("stopping")
	}
	stopHooks()
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(b.cfg().Ops.ShutdownTimeout, time.Millisecond))
	defer cancel()
	if e := b.io.Shutdown(shutdown); e != nil && !errors.Is(e, context.DeadlineExceeded) {
		b.log.Warn().Err(e).Msg("closing the sockets")
	}
	unfollow()
	<-ended
	led.Wait()
	if refused != nil {
		err = refused
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("bridge: %w", err)
	}
	return nil
}

// runHooks delivers webhooks, in and out, and looks after rights, until ctx ends or stop is called;
// stop waits for what is under way.
func (b *Bridge) runHooks(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var hooks sync.WaitGroup
	hooks.Go(func() { b.webhooks.Run(ctx) })
	if b.admin != nil {
		hooks.Go(func() { b.admin.Run(ctx) })
	}
	hooks.Go(func() { b.rechecker.Run(ctx) })
	hooks.Go(func() { b.homes.run(ctx) })
	if b.sharer != nil {
		hooks.Go(func() { b.sharer.Run(ctx) })
	}
	hooks.Go(func() { b.cluster.Run(ctx) })
	return func() { cancel(); hooks.Wait() }
}

// Close ends what New started. Run calls it.
func (b *Bridge) Close() {
	b.stop()
	b.emitters.Wait()
	b.resync.close()
	b.tap.Close()
	if b.upstream != nil {
		if err := b.upstream.close(context.Background()); err != nil {
			b.log.Warn().Err(err).Msg("stopping")
		}
	}
	if b.router != nil {
		b.router.waiting.asker.close()
	}
	if b.typing != nil {
		b.typing.Close()
	}
	if b.presence != nil {
		b.presence.Close()
	}
	if b.webhooks != nil {
		b.webhooks.Close()
	}
	if b.authorizer != nil {
		b.authorizer.Close()
	}
	if b.rows != nil {
		b.rows.Close()
	}
	b.traces.Close()
	b.cluster.Close()
}

func (b *Bridge) newEmitter() *emit.Emitter {
	return emit.New(emit.Options{
		Words: b.words, Mirrored: b.portable, Register: b.metrics.register,
		Relay: func(to emit.Audience, said []vocabulary.Utterance) { b.cluster.Relay(to, said) },
	})
}

// occupied reports whether anybody is in a conversation's room.
func (b *Bridge) occupied(conversation string) bool {
	room := emit.RoomName(b.cfg().Rooms.Conversation, conversation)
	return slices.ContainsFunc(b.spaces, func(n *socketio.Namespace) bool {
		return len(n.Local().To(room).Sockets()) > 0
	})
}
