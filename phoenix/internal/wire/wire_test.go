package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseVersion(t *testing.T) {
	for in, want := range map[string]Version{"": V1, "1.0.0": V1, "1.0.7": V1, "2.0.0": V2, "2.0.12": V2, "2.1.0": 0, "3.0.0": 0, "abc": 0, "2.0": 0, "2.0.x": 0} {
		got, err := ParseVersion(in)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("ParseVersion(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
}

// The binary vectors of the protocol description, byte for byte.
func TestBinaryGoldenVectors(t *testing.T) {
	ref := func(s string) Ref { return StringRef(s) }
	for _, tt := range []struct {
		name, hex  string
		fromServer bool
		m          Message
	}{
		{"kind 3 JSON", "0301010d03000137397265616c74696d653a726f6f6d68c3a97b2261223a317d", false,
			Message{Kind: UserBroadcastPush, JoinRef: ref("7"), Ref: ref("9"), Topic: "realtime:room", Event: "broadcast", UserEvent: "hé", Payload: []byte(`{"a":1}`), Metadata: []byte{}}},
		{"kind 3 binary", "0301010d03000037397265616c74696d653a726f6f6d62696e0102ff", false,
			Message{Kind: UserBroadcastPush, JoinRef: ref("7"), Ref: ref("9"), Topic: "realtime:room", Event: "broadcast", UserEvent: "bin", Payload: []byte{1, 2, 0xff}, Binary: true, Metadata: []byte{}}},
		{"kind 3 metadata, no join_ref", "0300010d010f01397265616c74696d653a726f6f6d6d7b226d6574615f6f6b223a2278227d7b7d", false,
			Message{Kind: UserBroadcastPush, JoinRef: ref(""), Ref: ref("9"), Topic: "realtime:room", Event: "broadcast", UserEvent: "m", Payload: []byte(`{}`), Metadata: []byte(`{"meta_ok":"x"}`)}},
		{"kind 4 JSON", "040d030b017265616c74696d653a726f6f6d68c3a97b226964223a227531227d7b2261223a317d", true,
			Message{Kind: UserBroadcast, Topic: "realtime:room", Event: "broadcast", UserEvent: "hé", Payload: []byte(`{"a":1}`), Metadata: []byte(`{"id":"u1"}`)}},
	} {
		frame, err := hex.DecodeString(tt.hex)
		if err != nil {
			t.Fatal(err)
		}
		decode, appendTo := DecodeClientBinary, AppendClient
		if tt.fromServer {
			decode, appendTo = DecodeServerBinary, AppendServer
		}
		m, err := decode(V2, frame)
		if err != nil || !reflect.DeepEqual(m, tt.m) {
			t.Errorf("%s: decoded %+v, %v\nwant %+v", tt.name, m, err, tt.m)
		}
		out, binary, err := appendTo(nil, V2, &m)
		if err != nil || !binary || !bytes.Equal(out, frame) {
			t.Errorf("%s: encoded %x (binary %v), %v; want %s", tt.name, out, binary, err, tt.hex)
		}
	}
}

func TestTextFramesAsRecorded(t *testing.T) {
	for _, tt := range []struct {
		name       string
		v          Version
		fromServer bool
		frame      string
		m          Message
	}{
		{"heartbeat", V2, false, `[null,"3","phoenix","heartbeat",{}]`,
			Message{Ref: StringRef("3"), Topic: "phoenix", Event: "heartbeat", Payload: []byte(`{}`)}},
		{"presence push", V2, false, `["7","9","realtime:room","presence",{"type":"presence","event":"track","payload":{"u":1}}]`,
			Message{JoinRef: StringRef("7"), Ref: StringRef("9"), Topic: "realtime:room", Event: "presence", Payload: []byte(`{"type":"presence","event":"track","payload":{"u":1}}`)}},
		{"join", V1, false, `{"topic":"realtime:x","event":"phx_join","payload":{"config":{}},"ref":"1","join_ref":"1"}`,
			Message{JoinRef: StringRef("1"), Ref: StringRef("1"), Topic: "realtime:x", Event: "phx_join", Payload: []byte(`{"config":{}}`)}},
		{"reply", V1, true, `{"ref":"1","event":"phx_reply","payload":{"status":"ok","response":{"postgres_changes":[]}},"topic":"realtime:x"}`,
			Message{Ref: StringRef("1"), Topic: "realtime:x", Event: "phx_reply", Payload: []byte(`{"status":"ok","response":{"postgres_changes":[]}}`)}},
		{"close", V2, true, `["2","2","realtime:x","phx_close",{}]`,
			Message{JoinRef: StringRef("2"), Ref: StringRef("2"), Topic: "realtime:x", Event: "phx_close", Payload: []byte(`{}`)}},
		{"number as ref", V2, true, `[null,17,"realtime:x","phx_reply",{}]`,
			Message{Ref: Ref{"17"}, Topic: "realtime:x", Event: "phx_reply", Payload: []byte(`{}`)}},
		{"jsonb spacing stays", V2, true, `[null,null,"realtime:x","postgres_changes",{"data":{"record":{"id": 9223372036854775807, "n": 10.50}},"ids":[1]}]`,
			Message{Topic: "realtime:x", Event: "postgres_changes", Payload: []byte(`{"data":{"record":{"id": 9223372036854775807, "n": 10.50}},"ids":[1]}`)}},
	} {
		decode, appendTo := DecodeClientText, AppendClient
		if tt.fromServer {
			decode, appendTo = DecodeServerText, AppendServer
		}
		m, err := decode(tt.v, []byte(tt.frame))
		if err != nil || !reflect.DeepEqual(m, tt.m) {
			t.Errorf("%s: decoded %+v, %v\nwant %+v", tt.name, m, err, tt.m)
		}
		out, binary, err := appendTo(nil, tt.v, &m)
		if err != nil || binary || string(out) != tt.frame {
			t.Errorf("%s: encoded %s (binary %v), %v\nwant %s", tt.name, out, binary, err, tt.frame)
		}
	}
}

func TestServerV1FrameHasNoJoinRef(t *testing.T) {
	m := Message{JoinRef: StringRef("1"), Topic: "realtime:x", Event: "system", Payload: []byte(`{}`)}
	out, _, err := AppendServer(nil, V1, &m)
	if want := `{"ref":null,"event":"system","payload":{},"topic":"realtime:x"}`; err != nil || string(out) != want {
		t.Errorf("got %s, %v; want %s", out, err, want)
	}
}

func TestUserBroadcastInV1IsTextWhenJSONAndNothingWhenBinary(t *testing.T) {
	m := Message{Kind: UserBroadcast, Topic: "realtime:x", Event: "broadcast", UserEvent: "evt", Payload: []byte(`{"a": 1}`), Metadata: []byte(`{"id":"8"}`)}
	out, binary, err := AppendServer(nil, V1, &m)
	want := `{"ref":null,"event":"broadcast","payload":{"event":"evt","meta":{"id":"8"},"payload":{"a": 1},"type":"broadcast"},"topic":"realtime:x"}`
	if err != nil || binary || string(out) != want {
		t.Errorf("got %s (binary %v), %v\nwant %s", out, binary, err, want)
	}
	m.Binary = true
	if out, _, err := AppendServer(nil, V1, &m); !errors.Is(err, ErrNotRepresentable) || len(out) != 0 {
		t.Errorf("binary payload in V1: %q, %v; want ErrNotRepresentable", out, err)
	}
}

func TestRefusedFrames(t *testing.T) {
	for _, tt := range []struct {
		v          Version
		fromServer bool
		binary     bool
		frame      string
	}{
		{V2, false, false, ``}, {V2, false, false, `5`}, {V2, false, false, `["1","2"]`}, {V2, false, false, `{"topic":"a"}`},
		{V2, false, false, `["1","1","t","e",{}`}, {V2, false, false, `["1","1","t","e",{}] x`}, {V2, false, false, `["1","1",5,"e",{}]`},
		{V2, false, false, `[{},"1","t","e",{}]`}, {V2, true, false, "[null,null,\"t\",\"e\",\"\xff\"]"},
		{V1, false, false, `{"topic":"t","event":"e","payload":{}}`}, {V1, false, false, `{"topic":"t","event":"e","ref":null}`},
		{V1, true, false, `{"ref":null,"event":"broadcast","payload":{"event":"b","payload":{nope,"type":"broadcast"},"topic":"realtime:xv"}`},
		{V1, true, true, "\x04\x00\x00\x00\x01"}, {V2, true, true, ""}, {V2, true, true, "\x09\x01\x02\x03"}, {V2, true, true, "\x04\xff\x00\x00\x01a"},
		{V2, false, true, "\x03\x01"},
	} {
		var err error
		switch {
		case tt.binary && tt.fromServer:
			_, err = DecodeServerBinary(tt.v, []byte(tt.frame))
		case tt.binary:
			_, err = DecodeClientBinary(tt.v, []byte(tt.frame))
		case tt.fromServer:
			_, err = DecodeServerText(tt.v, []byte(tt.frame))
		default:
			_, err = DecodeClientText(tt.v, []byte(tt.frame))
		}
		if err == nil {
			t.Errorf("%s fromServer=%v binary=%v %q: accepted", tt.v, tt.fromServer, tt.binary, tt.frame)
		}
	}
	if _, err := DecodeServerBinary(V2, []byte{9}); !errors.Is(err, ErrUnknownKind) {
		t.Errorf("kind 9: %v, want ErrUnknownKind", err)
	}
	if _, err := DecodeClientText(V2, []byte(`["1","1","t","e",{},"more",6]`)); err != nil {
		t.Errorf("trailing elements: %v", err)
	}
}

func TestFieldOver255BytesIsRefused(t *testing.T) {
	m := Message{Kind: UserBroadcastPush, Topic: "realtime:" + strings.Repeat("x", 247), UserEvent: "e"}
	out, _, err := AppendClient([]byte("keep"), V2, &m)
	if !errors.Is(err, ErrTooLong) || string(out) != "keep" {
		t.Errorf("got %q, %v; want ErrTooLong and dst as it was", out, err)
	}
}

func TestRefComparesByValue(t *testing.T) {
	m, err := DecodeServerText(V2, []byte(`["\u0031","1","t","e",{}]`))
	if err != nil || m.JoinRef != m.Ref || m.Ref != StringRef("1") {
		t.Errorf("%v and %v differ (%v)", m.JoinRef, m.Ref, err)
	}
	if (Ref{}) == StringRef("") {
		t.Error("null equals the empty string")
	}
	if got := StringRef("a\"\n\x01é").Text(); got != "a\"\n\x01é" {
		t.Errorf("Text() = %q", got)
	}
}

func FuzzValidAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range []string{`{}`, `[1,2.5e-3,"a\u00e9"]`, `{"a":{"b":[null,true]}}`, ` 1 `, `01`, `-`, `"\x"`, `{"a":}`, `[1,]`, "\"\x01\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, want := Valid(b), json.Valid(b); got != want {
			t.Fatalf("Valid(%q) = %v, encoding/json says %v", b, got, want)
		}
		if it := WalkObject(b); Valid(b) {
			for it.Next() {
				if !Valid(it.Value) {
					t.Fatalf("member %q of %q has value %q", it.Key, b, it.Value)
				}
			}
		}
	})
}

func FuzzText(f *testing.F) {
	for _, s := range []string{`[null,"3","phoenix","heartbeat",{}]`, `{"topic":"t","event":"e","payload":1,"ref":null}`, `["\u0031",2,"t\n","phx_join",{"a":[]},0]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, v := range []Version{V1, V2} {
			m, err := DecodeClientText(v, frame)
			if err != nil {
				continue
			}
			out, _, err := AppendClient(nil, v, &m)
			if err != nil {
				t.Fatalf("%s %q decodes but does not encode: %v", v, frame, err)
			}
			again, err := DecodeClientText(v, out)
			if err != nil || !reflect.DeepEqual(again, m) {
				t.Fatalf("%s %q -> %+v -> %q -> %+v, %v", v, frame, m, out, again, err)
			}
			if _, err := DecodeServerText(v, frame); err != nil {
				t.Fatalf("%s %q: a server may say it, but the client refuses: %v", v, frame, err)
			}
		}
	})
}

func FuzzBinary(f *testing.F) {
	for _, s := range []string{"0301010d03000137397265616c74696d653a726f6f6d68c3a97b2261223a317d", "040d030b017265616c74696d653a726f6f6d68c3a97b226964223a227531227d7b2261223a317d", "0001020f093131317265616c74696d653a62696e61727962726f616463617374726177"} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		// Refs and names that are not UTF-8, be it because a length cuts a character in two, come back as
		// U+FFFD.
		whole := func(m Message) bool {
			return !strings.ContainsRune(strings.ToValidUTF8(m.JoinRef.Text()+m.Ref.Text()+m.Topic+m.Event+m.UserEvent, "\uFFFD"), '\uFFFD')
		}
		if m, err := DecodeServerBinary(V2, frame); err == nil && whole(m) {
			out, _, err := AppendServer(nil, V2, &m)
			if err != nil || len(out) > 0 && m.Kind == UserBroadcast && !bytes.Equal(out[5:], frame[5:]) {
				t.Fatalf("%x -> %+v -> %x, %v", frame, m, out, err)
			}
		}
		if m, err := DecodeClientBinary(V2, frame); err == nil && whole(m) {
			if out, _, err := AppendClient(nil, V2, &m); err == nil && m.Kind == Push && !bytes.Equal(out, frame) {
				t.Fatalf("%x -> %+v -> %x", frame, m, out)
			}
		}
	})
}

func BenchmarkDecodeChange1KiB(b *testing.B) {
	frame := []byte(`[null,null,"realtime:supabridge","postgres_changes",{"data":{"table":"messages","type":"INSERT","record":{"id": "e0000000-0000-4000-8000-000000000020", "body": "` + strings.Repeat("x", 760) + `"},"columns":[{"name": "id", "type": "uuid"}],"errors":null,"schema":"public","commit_timestamp":"2026-11-22T22:54:04.222Z"},"ids":[72696871]}]`)
	b.SetBytes(int64(len(frame)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeServerText(V2, frame); err != nil {
			b.Fatal(err)
		}
	}
}
