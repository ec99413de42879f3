package config

// The comments of the fields below are more than Go documentation: they are
// what `supabridge config print --defaults` prints over each key and what
// `supabridge config schema` gives as its description (see reference.go), so
// that a key is described in one place. They are written for the person who
// runs the daemon: what the key does, what it costs, when to change it.
//
// Struct tags: key is the name in YAML; enum lists the only values allowed;
// min and max bound durations, sizes and numbers, both inclusive.

// Config is the whole configuration of the daemon. Load fills it once; nothing
// writes to it afterwards, so any number of goroutines may read it.
type Config struct {
	// Address the daemon listens on, as host:port, for Socket.IO, /healthz and /readyz. An empty host
	// listens on every interface, and with auth.insecure_dev on 127.0.0.1, the only kind of host it
	// may then be; port 0 takes any free port.
	Listen string `key:"listen"`
	// Certificate for serving HTTPS directly. Leave empty behind a proxy that ends TLS.
	TLS TLS `key:"tls"`
	// The Supabase project whose rows are re-broadcast.
	Supabase Supabase `key:"supabase"`
	// Names of the application's tables and columns.
	Tables Tables `key:"tables"`
	// Socket.IO rooms, who may enter them, and what is remembered to find them.
	Rooms Rooms `key:"rooms"`
	// The words the frontend uses: event names and the form of payloads.
	Vocabulary Vocabulary `key:"vocabulary"`
	// The Socket.IO endpoint browsers connect to.
	SocketIO SocketIO `key:"socketio"`
	// How a browser proves who it is.
	Auth Auth `key:"auth"`
	// How much a client may do.
	Limits Limits `key:"limits"`
	// Who is online.
	Presence Presence `key:"presence"`
	// Who is typing.
	Typing Typing `key:"typing"`
	// Typing and presence shared with clients that use Supabase Realtime itself, such as supabase-js.
	Realtime Realtime `key:"realtime"`
	// Messages that browsers send over their socket.
	Sending Sending `key:"sending"`
	// Webhooks that come in, from Twilio and from Supabase, and those that go out to the application.
	Webhooks Webhooks `key:"webhooks"`
	// Publishing from the application's server.
	Publish Publish `key:"publish"`
	// Several nodes working as one, by Redis.
	Cluster Cluster `key:"cluster"`
	// Running the daemon.
	Ops Ops `key:"ops"`
	// Logging.
	Log Log `key:"log"`

	origins  map[string]Origin // where each leaf key's value came from; keys absent were never loaded
	warnings []string
}

// TLS names the certificate the main port serves with. Both files or neither.
type TLS struct {
	// PEM file with the certificate and its chain. A running daemon takes a renewed one on when the
	// file changes.
	CertFile string `key:"cert_file"`
	// PEM file with the certificate's private key, likewise.
	KeyFile string `key:"key_file"`
	// Certificates that the daemon gets and renews by itself.
	ACME ACME `key:"acme"`
}

// ACME says how certificates are got from an authority.
type ACME struct {
	// Names the daemon is reached by, such as realtime.example.com; a certificate is got for each when
	// it is first asked for, from Let's Encrypt unless directory says otherwise. The authority
	// connects to port 443 of the name, so listen must be :443 or that port be forwarded to it. Beside
	// cert_file, that serves all other names. Empty gets none.
	Domains []string `key:"domains"`
	// Directory the certificates and the account's key are kept in, made if it is not there. Required
	// with domains: an authority gives only a few certificates a week, so they must outlive a restart.
	Cache string `key:"cache"`
	// Address the authority writes to when something is wrong. May be empty.
	Email string `key:"email"`
	// Address of another authority's directory, such as that of Let's Encrypt's staging environment.
	// Empty means Let's Encrypt.
	Directory string `key:"directory"`
}
