package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/supabridge/supabridge/bridge"
	"github.com/supabridge/supabridge/bridge/standin"
	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// composite has messages told apart by a column that is unique within a conversation only.
func composite(t *testing.T, s *setting) {
	t.Helper()
	head, tail, _ := strings.Cut(s.seed, "\n  messages:\n")
	tail = strings.Replace(tail, "    columns:\n", "    columns:\n      seq: {type: int8, identity: true}\n", 1)
	tail = strings.Replace(tail, "    primary_key: [id]\n", "    primary_key: [conversation_id, seq]\n", 1)
	tail = strings.Replace(tail, "[updated_at, id]", "[updated_at, seq]", 1)
	tail = strings.Replace(tail, "[[external_message_id]]", "[[external_message_id], [id]]", 1)
	tail = strings.Replace(tail, "      - {columns: [reply_to_message_id], references: messages, on_delete: set null}\n", "", 1)
	s.seed = head + "\n  messages:\n" + tail
	s.cfg.Tables.Messages.ID = "seq"
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const page = "https://app.example.com"

// setting is a project and a daemon in which nothing is wrong, until a test's fault changes that.
type setting struct {
	seed     string
	project  standin.Options
	cfg      *config.Config
	opts     Options
	upstream func(*standin.Server, http.Handler) http.Handler // what stands before the project
	front    func(http.Handler) http.Handler                  // what stands before the daemon
	ready    func(*testing.T, *standin.Server)                // called before the examination
}

// replace changes the seed's text, which must hold the old one.
func (s *setting) replace(t *testing.T, old, text string) {
	t.Helper()
	if !strings.Contains(s.seed, old) {
		t.Fatalf("the seed lacks %q", old)
	}
	s.seed = strings.Replace(s.seed, old, text, 1)
}

// healthy is the stand-in's own seed with what it leaves to be desired.
func healthy(t *testing.T) *setting {
	t.Helper()
	seed, err := os.ReadFile("../../bridge/standin/seed/inbox.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := &setting{seed: string(seed), cfg: config.Default()}
	s.replace(t, "    unique: [[external_message_id]]\n", "    unique: [[external_message_id]]\n    replica_identity: full\n")
	s.project.Realtime.Limits = phxserver.RealLimits()
	s.cfg.SocketIO.CORS.Origins = []string{page}
	s.cfg.Webhooks.Outbox.Path = filepath.Join(t.TempDir(), "outbox.db")
	s.cfg.Supabase.JoinTimeout = 5 * time.Second
	return s
}

// examine starts everything, looks at it, and ends it.
func (s *setting) examine(t *testing.T) *Report {
	t.Helper()
	seed, err := standin.ParseSeed(strings.NewReader(s.seed))
	if err != nil {
		t.Fatal(err)
	}
	s.project.Seed = seed
	project, err := standin.New(s.project)
	if err != nil {
		t.Fatal(err)
	}
	handler := project.Handler()
	if s.upstream != nil {
		handler = s.upstream(project, handler)
	}
	supabase := httptest.NewServer(handler)
	own := *s.cfg // the daemon's: what is wrong with the examined one is not its affair
	use := func(cfg *config.Config) {
		set := func(value *string, text string) {
			if *value == "" {
				*value = text
			}
		}
		set(&cfg.Supabase.URL, supabase.URL)
		set((*string)(&cfg.Supabase.ServiceRoleKey), project.ServiceKey())
		set((*string)(&cfg.Supabase.AnonKey), project.AnonKey())
		set((*string)(&cfg.Supabase.JWTSecret), standin.DefaultJWTSecret)
		cfg.Derive()
	}
	own.Supabase, own.Tables, own.Webhooks = config.Default().Supabase, config.Default().Tables, config.Default().Webhooks
	own.Ops.ShutdownTimeout = 50 * time.Millisecond // polling ends slowly: its client may come for its last packets
	use(&own)
	use(s.cfg)
	daemon, err := bridge.New(&own, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- daemon.Run(ctx) }()
	browsers := daemon.Handler()
	if s.front != nil {
		browsers = s.front(browsers)
	}
	door := httptest.NewServer(browsers)
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		door.Close()
		supabase.CloseClientConnections()
		if err := project.Close(context.Background()); err != nil {
			t.Error(err)
		}
		supabase.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	}()
	if s.opts.URL == "" {
		s.opts.URL = door.URL
	}
	if s.ready != nil {
		s.ready(t, project)
	}
	return Examine(t.Context(), s.cfg, s.opts)
}

// found lists what is not good, as "level check about". How many files this machine allows is not
// the test's affair.
func found(r *Report) []string {
	var all []string
	for _, f := range r.Findings {
		if f.Level != OK && f.Check != "file_limit" {
			all = append(all, strings.TrimSpace(string(f.Level)+" "+f.Check+" "+f.About))
		}
	}
	return all
}

// Under insecure_dev the origins that are named may not connect; config check warns of that, and
// pages of localhost may.
func TestOriginsBesideInsecureDevAreNoFault(t *testing.T) {
	s := healthy(t)
	s.cfg.Auth.InsecureDev = true
	if got := found(s.examine(t)); len(got) > 0 {
		t.Errorf("found %q", got)
	}
}

func TestNothingIsFoundWhereNothingIsWrong(t *testing.T) {
	r := healthy(t).examine(t)
	if got := found(r); len(got) > 0 || !r.Healthy() {
		t.Errorf("found %q", got)
	}
	for _, check := range []string{"dns", "reach", "clock", "key", "jwt_secret", "columns", "rls", "replica_identity", "index", "updated", "realtime", "quota", "cors", "endpoint", "websocket", "outbox"} {
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Check == check }) {
			t.Errorf("%s was not looked at", check)
		}
	}
}

func TestEachFaultIsFoundAndNothingElse(t *testing.T) {
	refuse := func(status int, prefix string) func(*standin.Server, http.Handler) http.Handler {
		return func(_ *standin.Server, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, prefix) {
					w.WriteHeader(status)
					return
				}
				next.ServeHTTP(w, r)
			})
		}
	}
	inject := func(f phxserver.Fault) func(*testing.T, *standin.Server) {
		return func(t *testing.T, s *standin.Server) {
			t.Helper()
			if _, err := s.Realtime().Inject(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	const messagesKeys = "    unique: [[external_message_id]]\n"
	for _, test := range []struct {
		name  string
		fault func(*testing.T, *setting)
		want  []string
		mend  string // part of the first one's
	}{
		{"a host without an address", func(_ *testing.T, s *setting) { s.cfg.Supabase.URL = "https://nothing.invalid" }, []string{"fail dns nothing.invalid"}, "url: https://<project ref>"},
		{"a project that speaks no TLS", func(_ *testing.T, s *setting) {
			s.upstream = func(_ *standin.Server, next http.Handler) http.Handler { return next }
			s.cfg.Supabase.URL = "https" // completed below
		}, []string{"fail tls HOST"}, "url: http://"},
		{"nothing at the address", func(t *testing.T, s *setting) { s.cfg.Supabase.URL = "http://" + closedPort(t) }, []string{"fail reach HOST"}, "url: # an address"},
		{"a project that is paused", func(_ *testing.T, s *setting) { s.upstream = refuse(540, "/") }, []string{"fail reach HOST"}, "resume the project"},
		{"a clock that is an hour off", func(_ *testing.T, s *setting) {
			s.upstream = func(_ *standin.Server, next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(&otherClock{w, time.Hour}, r) })
			}
		}, []string{"fail clock"}, "timedatectl"},
		{"the anon key as service key", func(_ *testing.T, s *setting) {
			s.cfg.Supabase.ServiceRoleKey = config.Secret(signed(t, standin.DefaultJWTSecret, "anon", time.Hour))
		},
			[]string{"fail key supabase.service_role_key"}, "SUPABASE_SERVICE_ROLE_KEY="},
		{"another project's service key", func(t *testing.T, s *setting) {
			s.cfg.Supabase.ServiceRoleKey = config.Secret(signed(t, "another secret of thirty-two letters and more", "service_role", time.Hour))
		}, []string{"fail key supabase.service_role_key"}, "SUPABASE_SERVICE_ROLE_KEY="},
		{"an anon key that expired", func(t *testing.T, s *setting) {
			s.cfg.Supabase.AnonKey = config.Secret(signed(t, standin.DefaultJWTSecret, "anon", -time.Hour))
		}, []string{"fail key supabase.anon_key"}, "SUPABASE_ANON_KEY="},
		{"a JWT secret that is not the project's", func(_ *testing.T, s *setting) {
			s.cfg.Supabase.JWTSecret = "another secret of thirty-two letters and more"
		}, []string{"fail jwt_secret"}, "SUPABASE_JWT_SECRET="},
		{"no published keys and no secret", func(_ *testing.T, s *setting) { s.cfg.Supabase.JWTSecret = "-" }, []string{"fail jwks ADDRESS/auth/v1/.well-known/jwks.json"}, "SUPABASE_JWT_SECRET="},
		{"newer keys, which tell nothing of the secret", func(t *testing.T, s *setting) {
			tokens, err := standin.NewTokens(standin.DefaultJWTSecret)
			if err != nil {
				t.Fatal(err)
			}
			s.cfg.Supabase.ServiceRoleKey, s.cfg.Supabase.AnonKey = config.Secret(tokens.SecretKey()), config.Secret(tokens.PublishableKey())
		}, []string{"unknown jwt_secret"}, "decode the head"},
		{"a schema that is not exposed", func(_ *testing.T, s *setting) { s.cfg.Supabase.Schema = "secret" }, []string{"fail schema messages", "fail schema conversations", "fail schema distributors"}, "schema: # one that is exposed"},
		{"a table that is not there", func(_ *testing.T, s *setting) { s.cfg.Tables.Messages.Name = "letters" }, []string{"fail table letters"}, "name: # the table's name"},
		{"a column that is not there", func(_ *testing.T, s *setting) { s.cfg.Tables.Messages.Status = "state" }, []string{"fail columns messages"}, "status: # the column's name"},
		{"no column of the last change", func(t *testing.T, s *setting) { s.cfg.Tables.Conversations.Updated = "changed_at" }, []string{"fail columns conversations"}, "add column changed_at timestamptz"},
		{"a table outside the publication", func(t *testing.T, s *setting) { s.replace(t, messagesKeys, messagesKeys+"    published: false\n") },
			[]string{"fail publication messages"}, "alter publication supabase_realtime add table public.messages;"},
		{"replica identity default", func(t *testing.T, s *setting) {
			s.replace(t, messagesKeys+"    replica_identity: full\n", messagesKeys)
		},
			[]string{"hint replica_identity messages"}, "alter table public.messages replica identity full;"},
		{"row level security off", func(t *testing.T, s *setting) {
			s.replace(t, "    row_security:\n      - {through: [conversation_id], column: distributor_id, claim: app_metadata.distributor_id}\n", "")
		}, []string{"fail rls messages"}, "alter table public.messages enable row level security;"},
		{"row level security off, unmigrated", func(t *testing.T, s *setting) {
			s.replace(t, "    row_security:\n      - {through: [conversation_id], column: distributor_id, claim: app_metadata.distributor_id}\n", "")
			s.project.Unmigrated = true
		}, append([]string{"unknown catalog", "fail rls messages"}, unknowns...), "supabridge doctor --sql"},
		{"a policy that lets everybody read", func(t *testing.T, s *setting) {
			s.replace(t, "      - {through: [conversation_id], column: distributor_id, claim: app_metadata.distributor_id}\n",
				"      - {through: [conversation_id], column: distributor_id, claim: app_metadata.distributor_id}\n      - {for: [select], to: [anon], everything: true}\n")
		}, []string{"fail rls messages"}, "alter policy"},
		{"no index on the cursor", func(t *testing.T, s *setting) {
			s.replace(t, messagesKeys+"    replica_identity: full\n    indexes: [[updated_at, id]]\n", messagesKeys+"    replica_identity: full\n")
		}, []string{"fail index messages"}, "create index concurrently if not exists messages_cursor on public.messages (updated_at, id);"},
		{"nothing keeps the time of the last change", func(t *testing.T, s *setting) {
			head, tail, _ := strings.Cut(s.seed, "\n  messages:\n")
			s.seed = head + "\n  messages:\n" + strings.Replace(tail, "default: now(), on_update: now()", "default: now()", 1)
		}, []string{"warn updated messages"}, "moddatetime(updated_at)"},
		{"a cursor without a time zone", func(t *testing.T, s *setting) {
			head, tail, _ := strings.Cut(s.seed, "\n  messages:\n")
			s.seed = head + "\n  messages:\n" + strings.Replace(tail, "updated_at: {type: timestamptz", "updated_at: {type: timestamp", 1)
		}, []string{"warn cursor_type messages"}, "alter column updated_at type timestamptz"},
		{"a sid that is not unique", func(t *testing.T, s *setting) {
			s.replace(t, messagesKeys, "")
			s.cfg.Webhooks.Twilio.AuthTokens = "token"
		}, []string{"fail unique_sid messages"}, "create unique index concurrently messages_external_message_id_key"},
		{"a key that is part of one", func(t *testing.T, s *setting) { composite(t, s) }, []string{"fail unique_key messages"},
			"create unique index concurrently messages_seq_key on public.messages (seq);"},
		{"a key that is part of one, unmigrated", func(t *testing.T, s *setting) {
			composite(t, s)
			s.project.Unmigrated = true
		}, []string{"unknown catalog", "fail unique_key messages", unknowns[0], unknowns[1], unknowns[2], unknowns[3]}, "supabridge doctor --sql"},
		{"a fast lane without its triggers", func(_ *testing.T, s *setting) { s.cfg.Supabase.FastLane = "on" }, []string{"fail fast_lane messages", "fail fast_lane conversations"}, "supabridge sql"},
		{"a handshake that is refused", func(_ *testing.T, s *setting) {
			s.ready = inject(phxserver.Fault{Action: phxserver.Refuse, Event: "connect", Status: http.StatusForbidden, Message: "Realtime was disabled for this tenant"})
		}, []string{"fail realtime"}, "enable Realtime"},
		{"too many connections", func(_ *testing.T, s *setting) {
			s.ready = inject(phxserver.Fault{Action: phxserver.Refuse, Event: "connect", Status: http.StatusTooManyRequests, Message: "Too many connected users"})
		}, []string{"fail quota"}, "raise the project's quota"},
		{"no Realtime at the address", func(t *testing.T, s *setting) { s.cfg.Supabase.RealtimeURL = "ws://" + closedPort(t) + "/websocket" }, []string{"fail realtime"}, "realtime_url:"},
		{"a join that is refused", func(_ *testing.T, s *setting) {
			s.ready = inject(phxserver.Fault{Action: phxserver.RefuseJoin, Message: "Unauthorized: you may not"})
		}, []string{"fail join"}, ""},
		{"an origin that is not allowed", func(_ *testing.T, s *setting) {
			s.front = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Query().Get("transport") == "polling" {
						r.Header.Del("Origin")
					}
					next.ServeHTTP(w, r)
				})
			}
		}, []string{"fail cors " + page}, `origins: ["https://app.example.com"]`},
		{"an origin that the daemon doesn't have", func(_ *testing.T, s *setting) {
			s.ready = func(*testing.T, *standin.Server) { s.cfg.SocketIO.CORS.Origins = []string{"https://other.example"} }
		}, []string{"fail cors https://other.example"}, `origins: ["https://other.example"]`},
		{"no origins", func(_ *testing.T, s *setting) { s.cfg.SocketIO.CORS.Origins = nil }, []string{"hint cors"}, "origins:"},
		{"a proxy that adds its own origin", func(_ *testing.T, s *setting) {
			s.front = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(&doubled{ResponseWriter: w}, r)
				})
			}
		}, []string{"fail cors " + page}, "proxy_hide_header"},
		{"a proxy that does not pass the path on", func(_ *testing.T, s *setting) {
			s.front = func(next http.Handler) http.Handler { return http.StripPrefix("/socket.io", next) }
		}, []string{"fail endpoint DOOR/socket.io"}, "location /socket.io/"},
		{"a proxy that passes no websockets", func(_ *testing.T, s *setting) {
			s.front = func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					r.Header.Del("Upgrade")
					next.ServeHTTP(w, r)
				})
			}
		}, []string{"fail websocket DOOR/socket.io"}, "proxy_set_header Upgrade"},
		{"no daemon where browsers look", func(t *testing.T, s *setting) { s.opts.URL = "http://" + closedPort(t) }, []string{"fail endpoint DOOR"}, "NEXT_PUBLIC_SOCKET_URL"},
		{"an outbox in a directory that is not there", func(t *testing.T, s *setting) {
			s.cfg.Webhooks.Outbox.Path = filepath.Join(t.TempDir(), "none", "outbox.db")
		}, []string{"fail outbox OUTBOX"}, "install -d"},
		{"a database that does not answer", func(t *testing.T, s *setting) {
			s.opts.Database = "postgres://postgres:hush@" + closedPort(t) + "/postgres"
		},
			append([]string{"fail database"}, unknowns...), "session pooler"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := healthy(t)
			test.fault(t, s)
			if s.cfg.Supabase.URL == "https" { // of a project that listens
				plain := httptest.NewServer(http.NotFoundHandler())
				defer plain.Close()
				s.cfg.Supabase.URL = strings.Replace(plain.URL, "http", "https", 1)
			}
			if s.cfg.Supabase.JWTSecret == "-" {
				s.ready = func(*testing.T, *standin.Server) { s.cfg.Supabase.JWTSecret = ""; s.cfg.Derive() }
			}
			r := s.examine(t)
			names := strings.NewReplacer("HOST", strings.TrimPrefix(strings.TrimPrefix(s.cfg.Supabase.URL, "https://"), "http://"), "ADDRESS", s.cfg.Supabase.URL,
				"DOOR", s.opts.URL, "OUTBOX", s.cfg.Webhooks.Outbox.Path)
			var want []string
			for _, w := range test.want {
				want = append(want, names.Replace(w))
			}
			got := found(r)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				var text bytes.Buffer
				_ = r.WriteText(&text)
				t.Fatalf("found %q, want %q:\n%s", got, want, &text)
			}
			first := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Level != OK && f.Check != "file_limit" })
			if f := r.Findings[first]; !strings.Contains(f.Fix+f.Look, test.mend) {
				t.Errorf("%s is mended by %q, want %q in it", f.Check, f.Fix+f.Look, test.mend)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{s.cfg.Supabase.ServiceRoleKey.Reveal(), s.cfg.Supabase.JWTSecret.Reveal(), "hush"} {
				if secret != "" && strings.Contains(text.String(), secret) {
					t.Errorf("the report holds a secret:\n%s", &text)
				}
			}
		})
	}
}

// unknowns are what only the catalog tells.
var unknowns = []string{
	"unknown replica_identity messages", "unknown index messages", "unknown replica_identity conversations", "unknown index conversations",
}

func TestWithoutTheCatalogWhatItTellsIsUnknown(t *testing.T) {
	s := healthy(t)
	s.project.Unmigrated = true
	r := s.examine(t)
	got := found(r)
	if want := append([]string{"unknown catalog"}, unknowns...); !slices.Equal(got, want) || !r.Healthy() {
		t.Errorf("found %q, want %q", got, want)
	}
	for _, f := range r.Findings {
		if f.Level == Unknown && f.Look == "" {
			t.Errorf("%s %s does not say how to look", f.Check, f.About)
		}
	}
}

func TestTheReportIsReadByPrograms(t *testing.T) {
	r := &Report{Findings: []Finding{{Check: "dns", About: "h", Level: Fail, Text: "none", Fix: "<a>"}}}
	var text bytes.Buffer
	if err := r.WriteJSON(&text); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Healthy  *bool
		Findings []map[string]string
	}
	if err := json.Unmarshal(text.Bytes(), &got); err != nil || got.Healthy == nil || *got.Healthy || got.Findings[0]["fix"] != "<a>" || got.Findings[0]["level"] != "fail" {
		t.Errorf("%s (%v)", &text, err)
	}
}

// closedPort is an address at which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func signed(t *testing.T, secret, role string, life time.Duration) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"role": role, "iss": "supabase", "iat": time.Now().Add(-2 * time.Hour).Unix(), "exp": time.Now().Add(life).Unix()}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// otherClock shifts the Date of an answer.
type otherClock struct {
	http.ResponseWriter
	by time.Duration
}

func (o *otherClock) WriteHeader(status int) {
	o.Header().Set("Date", time.Now().Add(o.by).UTC().Format(http.TimeFormat))
	o.ResponseWriter.WriteHeader(status)
}

func (o *otherClock) Unwrap() http.ResponseWriter { return o.ResponseWriter }

func (o *otherClock) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(o.ResponseWriter).Hijack()
}

// doubled adds another Access-Control-Allow-Origin to an answer.
type doubled struct {
	http.ResponseWriter
	done bool
}

func (d *doubled) WriteHeader(status int) {
	if !d.done {
		d.done = true
		d.Header().Add("Access-Control-Allow-Origin", "*")
	}
	d.ResponseWriter.WriteHeader(status)
}

func (d *doubled) Write(p []byte) (int, error) {
	if !d.done {
		d.WriteHeader(http.StatusOK)
	}
	return d.ResponseWriter.Write(p)
}

func (d *doubled) Unwrap() http.ResponseWriter { return d.ResponseWriter }

func (d *doubled) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(d.ResponseWriter).Hijack()
}
