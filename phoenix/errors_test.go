package phoenix

import (
	"errors"
	"testing"

	"github.com/gorilla/websocket"
)

// TestEveryErrorOfTheServerHasItsClass goes through the errors that reach a client.
func TestEveryErrorOfTheServerHasItsClass(t *testing.T) {
	join := func(reason string) Class { return joinError("realtime:x", reason).Class }
	for _, tt := range []struct {
		where string
		class func(string) Class
		want  Class
		texts []string
	}{
		{"join", join, Token, []string{
			"InvalidJWTToken: Token has expired 3652 seconds ago",
			"InvalidJWTToken: Fields `role` and `exp` are required in JWT",
			"InvalidJWTToken: Token expiration time is invalid",
			"MalformedJWT: The token provided is not a valid JWT",
			"JwtSignatureError: Failed to validate JWT signature",
			"JwtSignerError: Failed to generate JWT signer",
		}},
		{"join", join, Permanent, []string{
			"Unauthorized: You do not have permissions to read from this Channel topic: x",
			"PrivateOnly: This project only allows private channels",
			"TopicNameRequired: You must provide a topic name",
			"unmatched topic",
			"UnableToReplayMessages: Replay params are not valid",
			"UnableToReplayMessages: Replay is not allowed for public channels",
			"RealtimeDisabledForTenant: Realtime disabled for this tenant",
			"TenantNotFound: Tenant with the given ID does not exist",
		}},
		{"join", join, OtherSocket, []string{
			"ChannelRateLimitReached: Too many channels",
			"too many channels joined",
		}},
		{"join", join, Slow, []string{
			"ConnectionRateLimitReached: Too many connected users",
			"ClientJoinRateLimitReached: Too many joins per second",
			"IncreaseConnectionPool: Please increase your connection pool size",
			"DatabaseLackOfConnections: Database can't accept more connections, Realtime won't connect",
			"DatabaseConnectionRateLimitReached: Too many database connections attempts per second",
		}},
		{"join", join, Retry, []string{
			"UnableToReplayMessages: Realtime was unable to replay messages",
			"UnableToConnectToProject: Realtime was unable to connect to the project database",
			"Realtime was unable to connect to the project database",
			"QueryCanceled: Query was cancelled, please try again",
			"MissingPartition: x", "TimeoutOnRpcCall: Node request timeout", "ErrorOnRpcCall: x", "MusterJoinError: x",
			"UnknownErrorOnChannel: {}", "UnknownErrorOnChannel", "Unknown Error on Channel", "join crashed",
			"InitializingProjectConnection: Realtime is initializing the project connection",
			"RealtimeRestarting: Realtime is restarting, please standby",
			"", "something new: with words",
		}},
		{"close", systemClass, Token, []string{
			"Token has expired 0 seconds ago",
			"Fields `role` and `exp` are required in JWT",
			"The token provided is not a valid JWT",
			":signature_error",
			"Failed to validate JWT signature",
			"Failed to generate JWT signer",
		}},
		{"close", systemClass, Permanent, []string{
			"You do not have permissions to read from this Channel topic: x",
			"You no longer have permission to read from this Channel topic: x",
			"Track message size exceeded",
		}},
		{"close", systemClass, Slow, []string{
			"Too many messages per second",
			"Too many presence messages per second",
			"Client presence rate limit exceeded",
		}},
		{"close", systemClass, Retry, []string{
			"Realtime was unable to connect to the project database",
			"Query was cancelled, please try again",
			"Node request timeout",
			"RPC call error: x",
			"Replication connection was not established in time",
		}},
		{"feed", feedClass, Permanent, []string{
			"Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given connect parameters: [event: *, schema: public, table: late, filters: [], select: nil]",
			"Unable to subscribe to changes with given parameters. An exception happened so please check your connect parameters: []. Exception: ERROR P0001 (raise_exception) invalid column for filter nope",
			"Error parsing `filter` params: [\"foo\", \"x\"]",
			"No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: %{}",
			`role "x" does not exist`,
		}},
		{"feed", feedClass, Retry, []string{`{:error, "Too many database timeouts"}`, "{:error, :rpc_error}"}},
	} {
		for _, text := range tt.texts {
			if got := tt.class(text); got != tt.want {
				t.Errorf("%s %q is %s, want %s", tt.where, text, got, tt.want)
			}
		}
	}
}

func TestCloseCodesHaveTheirClass(t *testing.T) {
	for code, want := range map[int]Class{
		websocket.CloseNormalClosure: Retry, websocket.CloseServiceRestart: Retry, websocket.CloseInternalServerErr: Retry, websocket.CloseAbnormalClosure: Retry,
		websocket.CloseGoingAway: Slow, websocket.CloseProtocolError: Slow, websocket.CloseInvalidFramePayloadData: Slow, websocket.CloseMessageTooBig: Slow,
	} {
		if e := linkError(&websocket.CloseError{Code: code}); e.Class != want || e.Op != OpLink || code != websocket.CloseAbnormalClosure && e.Status != code {
			t.Errorf("close code %d: %+v, want class %s", code, e, want)
		}
	}
	if e := linkError(errors.New("reset")); e.Class != Retry || e.Status != 0 {
		t.Errorf("a reset: %+v", e)
	}
}
