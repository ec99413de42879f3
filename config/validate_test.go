package config

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
)

// apiKey is a legacy API key of that role, signed by nobody.
func apiKey(role string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(`{"role":"`+role+`"}`)) + ".c2ln"
}

func TestWhatDoesNotFitIsNamedWithItsSource(t *testing.T) {
	for _, test := range []struct {
		name    string
		environ []string // with content, the variables of complete to leave out; else what is set
		content string
		want    []string
	}{
		{"url without a scheme", []string{"SUPABASE_URL=db.example.com"}, "", []string{
			"environment SUPABASE_URL: supabase.url: expected an address that begins with http:// or https://, found \"db.example.com\"",
		}},
		{"url with a path of one service", []string{"SUPABASE_URL=https://x.supabase.co/rest/v1/"}, "", []string{
			"environment SUPABASE_URL: supabase.url: expected the address of the project, found \"https://x.supabase.co/rest/v1\" (leave off /rest/v1 and what follows)",
		}},
		{"url with a password", []string{"SUPABASE_URL=https://me:hush@x.supabase.co"}, "", []string{
			"environment SUPABASE_URL: supabase.url: expected an address without user, query and fragment",
		}},
		{"secret in place of the url", []string{"SUPABASE_URL=sb_secret_hush"}, "", []string{
			"environment SUPABASE_URL: supabase.url: expected an address that begins with http:// or https://, found something that looks like a secret",
		}},
		{"keys exchanged", []string{"SUPABASE_SERVICE_ROLE_KEY=" + apiKey("anon"), "SUPABASE_ANON_KEY=" + apiKey("service_role")}, "", []string{
			"environment SUPABASE_SERVICE_ROLE_KEY: supabase.service_role_key: expected the service_role or an sb_secret_ key, found the public one",
			"environment SUPABASE_ANON_KEY: supabase.anon_key: expected the anon or an sb_publishable_ key, found the secret one",
		}},
		{"newer keys exchanged", []string{"SUPABASE_SECRET_KEY=sb_publishable_a", "SUPABASE_PUBLISHABLE_KEY=sb_secret_b"}, "", []string{
			"environment SUPABASE_SECRET_KEY: supabase.service_role_key: expected the service_role or an sb_secret_ key, found the public one",
			"environment SUPABASE_PUBLISHABLE_KEY: supabase.anon_key: expected the anon or an sb_publishable_ key, found the secret one",
		}},
		{"key with a line end", []string{"SUPABRIDGE_SUPABASE_ANON_KEY"}, "supabase:\n  anon_key: \"hush\\nhush\"\n", []string{
			"FILE:2: supabase.anon_key: expected a key without spaces, line ends and letters beyond ASCII",
		}},
		{"printed secrets read back", []string{"SUPABRIDGE_SUPABASE_SERVICE_ROLE_KEY"}, "supabase: {service_role_key: '[redacted]', jwt_secret: '[redacted]'}\n", []string{
			"FILE:1: supabase.service_role_key: expected a key, found what stands in its place when a configuration is printed",
			"FILE:1: supabase.jwt_secret: expected a secret, found what stands in its place when a configuration is printed",
		}},
		{"events", nil, "vocabulary: {status_event: disconnect, resync_event: disconnect}\n", []string{
			"FILE:1: vocabulary.status_event: expected a name that Socket.IO doesn't use itself, found \"disconnect\"",
			"FILE:1: vocabulary.resync_event: expected a name that Socket.IO doesn't use itself, found \"disconnect\"",
			"FILE:1: vocabulary.resync_event: expected another name than vocabulary.status_event, found \"disconnect\" for both",
		}},
		{"no events", nil, "vocabulary: {status_event: '', resync_event: '', preset: loud}\n", []string{
			"FILE:1: vocabulary.preset: expected one of underscore, colon, kebab, camel, whaticket, none, found \"loud\"",
		}},
		{"what lets people look in", nil, "socketio: {namespaces: [/, /admin], admin: {username: ops, password_hash: hushhushhushhush}}\nops: {traces: {url: 'collector:4318'}}\n", []string{
			"FILE:1: socketio.namespaces: /admin is taken by socketio.admin",
			"FILE:1: socketio.admin.password_hash: expected a hash of bcrypt, which begins with $2, as from: htpasswd -nbBC 10 \"\" PASSWORD | tr -d ':'",
			"FILE:2: ops.traces.url: expected an address that begins with http:// or https://, found \"collector:4318\"",
		}},
		{"webhooks of Twilio", nil, `webhooks:
  twilio:
    auth_tokens: "hush,"
    paths: [twilio, /healthz, /socket.io/x, /a/]
    public_urls: [hooks.example.com, "https://h.example/t?x=1"]
    trusted_proxies: [10.0.0.1]
    modes: [forward, forward]
    store:
      columns: [content]
      lookups: ["a = b where c=d"]
      statuses: [delivered, seen=SEEN]
`, []string{
			"FILE:3: webhooks.twilio.auth_tokens: expected tokens with commas between",
			"FILE:4: webhooks.twilio.paths: expected a path such as /webhooks/twilio, without a slash at its end, found \"twilio\"",
			"FILE:4: webhooks.twilio.paths: expected a path that isn't taken, found \"/healthz\"",
			"FILE:4: webhooks.twilio.paths: expected a path that isn't taken, found \"/socket.io/x\"",
			"FILE:4: webhooks.twilio.paths: expected a path such as /webhooks/twilio, without a slash at its end, found \"/a/\"",
			"FILE:5: webhooks.twilio.public_urls: expected an address such as https://hooks.example.com, without a query, found \"hooks.example.com\"",
			"FILE:5: webhooks.twilio.public_urls: expected an address such as https://hooks.example.com, without a query, found \"https://h.example/t?x=1\"",
			"FILE:6: webhooks.twilio.trusted_proxies: expected a network such as 10.0.0.0/8 or 192.0.2.7/32, found \"10.0.0.1\"",
			"FILE:7: webhooks.twilio.modes: holds \"forward\" twice",
			"FILE:9: webhooks.twilio.store.columns: expected column=text, column?=text or column:=json, found \"content\"",
			"FILE:10: webhooks.twilio.store.lookups: expected name = table.column where column=text, found \"a = b where c=d\"",
			"FILE:11: webhooks.twilio.store.statuses: expected a status of Twilio's and a word, as delivered=DELIVERED, found \"delivered\"",
			"FILE:11: webhooks.twilio.store.statuses: expected a status of Twilio's and a word, as delivered=DELIVERED, found \"seen=SEEN\"",
			"webhooks.twilio.forward_url: required for the mode forward; set it in the file or in the environment as SUPABRIDGE_WEBHOOKS_TWILIO_FORWARD_URL",
			"webhooks.outbox.path: required where webhooks are forwarded, stored or sent; set it in the file or in the environment as SUPABRIDGE_WEBHOOKS_OUTBOX_PATH",
		}},
		{"short secrets", nil, "webhooks: {supabase: {secret: hush}}\npublish: {secret: hush, path: /p, disconnect_path: /p}\n", []string{
			"FILE:1: webhooks.supabase.secret: expected a secret of at least 16 bytes",
			"FILE:2: publish.secret: expected a secret of at least 16 bytes",
			"FILE:2: publish.disconnect_path: expected another path than publish.path, found \"/p\" for both",
		}},
		{"waits the wrong way round", nil, "supabase:\n  reconnect: {min: 40s}\n  polling: {min: 1m}\n", []string{
			"FILE:2: supabase.reconnect.min: expected at most supabase.reconnect.max, which is 30s, found 40s",
			"FILE:3: supabase.polling.min: expected at most supabase.polling.max, which is 15s, found 1m",
		}},
		{"other addresses", nil, "supabase: {realtime_url: 'https://x', jwks_url: 'wss://x', schema: ''}\n", []string{
			"FILE:1: supabase.jwks_url: expected an address that begins with http:// or https://, found \"wss://x\"",
			"FILE:1: supabase.schema: expected the name of a schema, such as public",
			"FILE:1: supabase.realtime_url: expected an address that begins with ws:// or wss://, found \"https://x\"",
		}},
		{"listen without a colon", []string{"SUPABRIDGE_LISTEN=3001"}, "", []string{
			"environment SUPABRIDGE_LISTEN: listen: expected host:port such as \":3001\" or \"127.0.0.1:3001\", found \"3001\" (write \":3001\")",
		}},
		{"port out of range", nil, "listen: ':70000'\n", []string{
			"FILE:1: listen: expected a port number from 0 to 65535, found \"70000\"",
		}},
		{"known port variable", []string{"SOCKET_IO_PORT=http"}, "", []string{
			"environment SOCKET_IO_PORT: listen: expected a port number from 0 to 65535, found \"http\"",
		}},
		{"known app variable", []string{"NEXT_PUBLIC_APP_URL=localhost:3000"}, "", []string{
			"environment NEXT_PUBLIC_APP_URL: socketio.cors.origins: expected an address such as https://app.example.com, found \"localhost:3000\"",
		}},
		{"half a certificate", nil, "tls:\n  key_file: k\n", []string{"tls.cert_file: required beside tls.key_file"}},
		{"room without an id", nil, "rooms:\n  conversation: {name: chat}\n  tenant: {name: '{id}-{id}'}\n", []string{
			"FILE:2: rooms.conversation.name: expected a name with {id} in it once and no other braces, found \"chat\"",
			"FILE:3: rooms.tenant.name: expected a name with {id} in it once and no other braces, found \"{id}-{id}\"",
		}},
		{"one name for both rooms", nil, "rooms:\n  conversation: {name: '{id}'}\n  tenant: {name: '{id}'}\n", []string{
			"FILE:3: rooms.tenant.name: expected another name than that of rooms.conversation.name, found \"{id}\" for both",
		}},
		{"tables", nil, "tables:\n  messages: {id: '', status: '', tenant: 'a,b'}\n  tenants: {name: " + strings.Repeat("n", 64) + "}\n", []string{
			"FILE:2: tables.messages.id: expected a name, found nothing",
			"FILE:2: tables.messages.tenant: expected a name without quotes, commas, parentheses and control characters, found \"a,b\"",
			"FILE:3: tables.tenants.name: expected a name of at most 63 bytes, as Postgres has them, found one of 64",
		}},
		{"nouns", nil, "vocabulary: {conversation_noun: 'a b', tenant_noun: ''}\n", []string{
			"FILE:1: vocabulary.conversation_noun: expected a word of letters and digits such as conversation, found \"a b\"",
			"FILE:1: vocabulary.tenant_noun: expected a word of letters and digits such as conversation, found \"\"",
		}},
		{"one noun for both", nil, "vocabulary: {conversation_noun: team, tenant_noun: team}\n", []string{
			"FILE:1: vocabulary.tenant_noun: expected another word than vocabulary.conversation_noun, found \"team\" for both",
		}},
		{"paths", nil, "socketio: {paths: [socket.io, /healthz/, /a, /a/, /, '/a/../b']}\n", []string{
			"FILE:1: socketio.paths: expected a path such as /socket.io, found \"socket.io\"",
			"FILE:1: socketio.paths: expected a path that isn't taken, found \"/healthz\"",
			"FILE:1: socketio.paths: holds \"/a\" twice",
			"FILE:1: socketio.paths: expected a path that isn't taken, found \"/\"",
			"FILE:1: socketio.paths: expected a path such as /socket.io, found \"/a/../b\"",
		}},
		{"lists that must not be empty", nil, "socketio: {paths: [], namespaces: [], transports: []}\nauth: {credentials: []}\n", []string{
			"FILE:1: socketio.paths: expected at least one",
			"FILE:1: socketio.namespaces: expected at least one",
			"FILE:1: socketio.transports: expected at least one",
			"FILE:2: auth.credentials: expected at least one",
		}},
		{"members twice", nil, "socketio: {namespaces: [/, /], transports: [polling, polling]}\n", []string{
			"FILE:1: socketio.namespaces: holds \"/\" twice",
			"FILE:1: socketio.transports: holds \"polling\" twice",
		}},
		{"namespace", nil, "socketio: {namespaces: [chat]}\n", []string{
			"FILE:1: socketio.namespaces: expected a namespace such as / or /chat, found \"chat\"",
		}},
		{"origins", []string{"SUPABRIDGE_SOCKETIO_CORS_ORIGINS=https://a.example.com/, https://*.example.com,*"}, "", []string{
			"environment SUPABRIDGE_SOCKETIO_CORS_ORIGINS: socketio.cors.origins: expected an origin such as https://app.example.com, without a path, or \"*\", found \"https://a.example.com/\"",
			"environment SUPABRIDGE_SOCKETIO_CORS_ORIGINS: socketio.cors.origins: expected an origin such as https://app.example.com, without a path, or \"*\", found \"https://*.example.com\"",
		}},
		{"any origin and cookies", nil, "socketio: {cors: {origins: ['*']}}\nauth: {credentials: [cookie.token]}\n", []string{
			"FILE:1: socketio.cors.origins: expected the origins by name, since auth.credentials has a cookie and any page could act as its visitor",
		}},
		{"no origin and cookies", nil, "auth: {credentials: [auth.token, cookie.token]}\n", []string{
			"socketio.cors.origins: expected the origins by name, since auth.credentials has a cookie and any page could act as its visitor",
		}},
		{"rules", nil, "rooms:\n  conversation: {rules: [claim, membership, callback]}\n  tenant: {rules: [tenant, rls, rls, membership], claims: [user_metadata.teams], membership: {table: members, user: u, room: u}}\n", []string{
			"FILE:3: rooms.tenant.rules: holds \"rls\" twice",
			"FILE:3: rooms.tenant.rules: expected tenant in rooms.conversation.rules only",
			"FILE:3: rooms.tenant.claims: expected a claim that the user can't write, or its name in auth.user_written_claims too, found \"user_metadata.teams\"",
			"FILE:3: rooms.tenant.membership.room: expected another column than rooms.tenant.membership.user, found \"u\" for both",
			"rooms.conversation.claims: required for the rule claim; set it in the file or in the environment as SUPABRIDGE_ROOMS_CONVERSATION_CLAIMS",
			"rooms.conversation.membership.table: required for the rule membership; set it in the file or in the environment as SUPABRIDGE_ROOMS_CONVERSATION_MEMBERSHIP_TABLE",
			"rooms.conversation.membership.user: required for the rule membership; set it in the file or in the environment as SUPABRIDGE_ROOMS_CONVERSATION_MEMBERSHIP_USER",
			"rooms.conversation.membership.room: required for the rule membership; set it in the file or in the environment as SUPABRIDGE_ROOMS_CONVERSATION_MEMBERSHIP_ROOM",
			"rooms.authorization.callback.url: required for the rule callback; set it in the file or in the environment as SUPABRIDGE_ROOMS_AUTHORIZATION_CALLBACK_URL",
		}},
		{"limits", nil, "limits:\n  trusted_proxies: [10.0.0.1]\n  socket: {events: [join=20]}\n  user: {events: ['join=0:1']}\n  address: {events: ['*=1:2', '*=3:4']}\n", []string{
			"FILE:2: limits.trusted_proxies: expected a network such as 10.0.0.0/8 or 192.0.2.7/32, found \"10.0.0.1\"",
			"FILE:3: limits.socket.events: expected an intent, events a second and events at once, as join=20:200, found \"join=20\"",
			"FILE:4: limits.user.events: expected an intent, events a second and events at once, as join=20:200, found \"join=0:1\"",
			"FILE:5: limits.address.events: holds \"*\" twice",
		}},
		{"what users write, unasked", nil, "auth: {tenant_claims: [user_metadata.org_id], user_written_claims: [app_metadata.x]}\n", []string{
			"FILE:1: auth.tenant_claims: expected a claim that the user can't write, or its name in auth.user_written_claims too, found \"user_metadata.org_id\"",
			"FILE:1: auth.user_written_claims: expected the path of a claim under user_metadata, found \"app_metadata.x\"",
		}},
		{"refusals", nil, "auth: {refuse_messages: ['sleepy=zzz', 'no_token=a', 'no_token=b'], credentials: [event, auth.token]}\n", []string{
			"FILE:1: auth.credentials: expected event as the last, since it is waited for where nothing else is there",
			"FILE:1: auth.refuse_messages: expected a reason and a text, as token_expired=jwt expired, with a reason of no_token, token_expired, unauthorized, too_many_connections, unavailable, found \"sleepy=zzz\"",
			"FILE:1: auth.refuse_messages: holds \"no_token=b\" twice",
		}},
		{"auth", nil, "auth: {credentials: [body.token], tenant_claims: [a..b], refuse_message: ''}\n", []string{
			"FILE:1: auth.credentials: expected auth.NAME, header.NAME, query.NAME, cookie.NAME, cookie.sb-*-auth-token or event, found \"body.token\"",
			"FILE:1: auth.tenant_claims: expected the path of a claim such as app_metadata.tenant_id, found \"a..b\"",
			"FILE:1: auth.refuse_message: expected a text, found nothing",
		}},
		{"variable of the wrong type", []string{"SUPABRIDGE_PRESENCE_ENABLED=1", "SUPABRIDGE_TYPING_TIMEOUT=5"}, "", []string{
			"environment SUPABRIDGE_PRESENCE_ENABLED: presence.enabled: expected true or false, found \"1\"",
			"environment SUPABRIDGE_TYPING_TIMEOUT: typing.timeout: expected a duration such as 1m30s from 500ms to 10m, found \"5\" (give the unit, such as 5s)",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.content != "" {
				path := file(t, "c.yaml", test.content)
				environ := slices.DeleteFunc(slices.Clone(complete), func(pair string) bool {
					name, _, _ := strings.Cut(pair, "=")
					return slices.Contains(test.environ, name)
				})
				checkErrors(t, Sources{File: path, Environ: environ}, path, test.want)
				return
			}
			least := []string{
				"SUPABASE_PROJECT_URL=http://127.0.0.1:1", "SUPABASE_SERVICE_KEY=s",
				"NEXT_PUBLIC_SUPABASE_PUBLISHABLE_OR_ANON_KEY=a", // each the last looked at
			}
			checkErrors(t, Sources{Environ: append(least, test.environ...)}, "", test.want)
		})
	}
}
