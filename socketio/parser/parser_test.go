package parser

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestPacketsAreReadAsTheyAreWritten(t *testing.T) {
	for _, tc := range []struct {
		text string
		want Packet
	}{
		{`0`, Packet{Type: Connect, Namespace: "/"}},
		{`0{"token":"x"}`, Packet{Type: Connect, Namespace: "/", Payload: json.RawMessage(`{"token":"x"}`)}},
		{`0/admin,`, Packet{Type: Connect, Namespace: "/admin"}},
		{`0/admin,{"a":1}`, Packet{Type: Connect, Namespace: "/admin", Payload: json.RawMessage(`{"a":1}`)}},
		{`1`, Packet{Type: Disconnect, Namespace: "/"}},
		{`1/admin,`, Packet{Type: Disconnect, Namespace: "/admin"}},
		{`2["hello"]`, Packet{Type: Event, Namespace: "/", Args: raw(`"hello"`)}},
		{`2["hello",{"a":[1,2]},null]`, Packet{Type: Event, Namespace: "/", Args: raw(`"hello"`, `{"a":[1,2]}`, `null`)}},
		{`2/a,7["x"]`, Packet{Type: Event, Namespace: "/a", ID: 7, HasID: true, Args: raw(`"x"`)}},
		{`20["x"]`, Packet{Type: Event, Namespace: "/", ID: 0, HasID: true, Args: raw(`"x"`)}},
		{`3/a,12[]`, Packet{Type: Ack, Namespace: "/a", ID: 12, HasID: true, Args: raw()}},
		{`4{"message":"no"}`, Packet{Type: ConnectError, Namespace: "/", Payload: json.RawMessage(`{"message":"no"}`)}},
	} {
		var d Decoder
		got, err := d.Text([]byte(tc.text))
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if !same(got, &tc.want) {
			t.Errorf("%s: read %+v, want %+v", tc.text, got, tc.want)
		}
		if s := string(Append(nil, got)); s != tc.text && s != strings.TrimSuffix(tc.text, ",")+"," {
			t.Errorf("%s: written again as %s", tc.text, s)
		}
	}
}

func TestNamespaceWithoutCommaIsUnderstood(t *testing.T) {
	var d Decoder
	p, err := d.Text([]byte(`0/admin`))
	if err != nil || p.Namespace != "/admin" {
		t.Fatalf("got %+v, %v", p, err)
	}
}

func TestAttachmentsCompleteAPacket(t *testing.T) {
	var d Decoder
	p, err := d.Text([]byte(`52-/a,9["m",{"_placeholder":true,"num":1},{"x":{"num":0,"_placeholder":true}}]`))
	if p != nil || err != nil || !d.Pending() {
		t.Fatalf("after the text: %v, %v", p, err)
	}
	if p, err = d.Attachment([]byte{1}); p != nil || err != nil {
		t.Fatalf("after the first attachment: %v, %v", p, err)
	}
	p, err = d.Attachment([]byte{2, 3})
	if err != nil || p == nil || len(p.Attachments) != 2 || !bytes.Equal(p.Attachments[1], []byte{2, 3}) {
		t.Fatalf("complete: %+v, %v", p, err)
	}
	in, err := Inline(p.Args[2], p.Attachments)
	if err != nil || string(in) != `{"x":"AQ=="}` {
		t.Errorf("inlined: %s, %v", in, err)
	}
}

// What has crashed or flooded other servers must be an error.
func TestBrokenPacketsAreRefused(t *testing.T) {
	for name, messages := range map[string][]string{
		"empty":                                    {``},
		"unknown type":                             {`9["x"]`},
		"letters":                                  {`abc`},
		"not an array":                             {`2{}`},
		"bad ack id":                               {`2abc["x"]`},
		"ack id too large":                         {`299999999999999999999["x"]`},
		"no payload":                               {`2`},
		"no name":                                  {`2[]`},
		"name is an object (CVE-2023-32695)":       {`2[{"toString":"foo"}]`},
		"name is null":                             {`2[null]`},
		"reserved name":                            {`2["disconnect"]`},
		"reserved name, escaped":                   {`2["\u0064isconnect"]`},
		"connect with an array":                    {`0[]`},
		"connect with text behind":                 {`0{}x`},
		"disconnect with a payload":                {`1{}`},
		"ack without id":                           {`3[]`},
		"invalid JSON":                             {`2["x",{]`},
		"text behind":                              {`2["x"]]`},
		"control character":                        {"2[\"x\ny\"]"},
		"too deep":                                 {`2["x",` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `]`},
		"binary without a count":                   {`5["x"]`},
		"binary without a dash":                    {`51["x"]`},
		"count missing (2022 crash)":               {`5-["x"]`},
		"too many attachments (CVE-2026-33151)":    {`511-["x"]`},
		"huge count":                               {`5999999999999999999999-["x"]`},
		"attachment unasked":                       {"\x00"},
		"text between attachments":                 {`51-["x",{"_placeholder":true,"num":0}]`, `2["y"]`},
		"placeholder out of range (CVE-2022-2421)": {`51-["x",{"_placeholder":true,"num":10}]`, "\x00a"},
		"placeholder negative":                     {`51-["x",{"_placeholder":true,"num":-1}]`, "\x00a"},
		"placeholder not a number":                 {`51-["x",{"_placeholder":true,"num":"splice"}]`, "\x00a"},
		"placeholder nested, out of range":         {`51-["x",{"a":[{"_placeholder":true,"num":1}]}]`, "\x00a"},
	} {
		t.Run(name, func(t *testing.T) {
			var d Decoder
			var err error
			for _, m := range messages {
				if strings.HasPrefix(m, "\x00") {
					_, err = d.Attachment([]byte(m[1:]))
				} else {
					_, err = d.Text([]byte(m))
				}
			}
			if !errors.Is(err, ErrSyntax) {
				t.Errorf("%.60q: got %v, want a syntax error", messages, err)
			}
		})
	}
}

func TestStringsAreQuotedAsJSON(t *testing.T) {
	for _, s := range []string{"", "plain", `a"b\c`, "tab\tnl\n", "ü", "\x1e", "\u2028", "<&>", "\x7f", "\xff"} {
		var got string
		if err := json.Unmarshal(Quote(s), &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") {
			t.Errorf("%q quoted is %s, read again %q (%v)", s, Quote(s), got, err)
		}
		if bytes.IndexByte(Quote(s), 0x1e) >= 0 {
			t.Errorf("%q quoted holds a separator", s)
		}
	}
}

func raw(s ...string) []json.RawMessage {
	m := make([]json.RawMessage, len(s))
	for i := range s {
		m[i] = json.RawMessage(s[i])
	}
	return m
}

func same(a, b *Packet) bool {
	eq := func(x, y json.RawMessage) bool { return string(x) == string(y) }
	return a.Type == b.Type && a.Namespace == b.Namespace && a.ID == b.ID && a.HasID == b.HasID &&
		eq(a.Payload, b.Payload) && slices.EqualFunc(a.Args, b.Args, eq)
}

// The scanner must agree with encoding/json about what is JSON, up to the depth it allows.
func FuzzScannerAgreesWithEncodingJSON(f *testing.F) {
	for _, s := range []string{`["a",1,-0.5e+3,true,false,null,{"k":[{}]}]`, `[1,]`, `[01]`, `["\u12g4"]`, ` [ ] `, `["a]`, `[{"a" : 1 , "b":[ ]}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		args, err := Split(b)
		var want []json.RawMessage
		wantErr := json.Unmarshal(b, &want)
		if wantErr == nil && want == nil {
			return // null is no array here
		}
		if bytes.Count(b, []byte("["))+bytes.Count(b, []byte("{")) > maxDepth {
			return
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: Split says %v, encoding/json %v", b, err, wantErr)
		}
		if err == nil && !slices.EqualFunc(args, want, func(x, y json.RawMessage) bool { return bytes.Equal(x, y) }) {
			t.Fatalf("%q: Split says %s, encoding/json %s", b, args, want)
		}
	})
}

// Whatever comes, decoding ends in a packet or a syntax error; and a packet written again is read
// as the same.
func FuzzDecoder(f *testing.F) {
	for _, s := range []string{`0{"a":1}`, `2/x,1["e",{"_placeholder":true,"num":0}]`, `51-["x",{"_placeholder":true,"num":0}]`, `3/a,12[]`, `1`} {
		f.Add([]byte(s), []byte{1})
	}
	f.Fuzz(func(t *testing.T, text, attachment []byte) {
		var d Decoder
		p, err := d.Text(bytes.Clone(text))
		for range DefaultMaxAttachments {
			if p != nil || err != nil {
				break
			}
			p, err = d.Attachment(attachment)
		}
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		for _, a := range p.Args {
			if _, err := Inline(a, p.Attachments); err != nil {
				t.Fatalf("inline %s: %v", a, err)
			}
		}
		if len(p.Attachments) > 0 {
			return
		}
		var again Decoder
		q, err := again.Text(Append(nil, p))
		if err != nil || !same(p, q) {
			t.Fatalf("%q read as %+v, written and read again %+v (%v)", text, p, q, err)
		}
	})
}

func BenchmarkDecodeEvent(b *testing.B) {
	text := []byte(`2["publish",{"room":"room-0","seq":123,"t":123456,"pad":"` + strings.Repeat("x", 200) + `"}]`)
	var d Decoder
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Text(text); err != nil {
			b.Fatal(err)
		}
	}
}

func TestMsgPackSaysTheSame(t *testing.T) {
	long := strings.Repeat("ü", 200)
	for _, p := range []*Packet{
		{Type: Connect, Namespace: "/"},
		{Type: Connect, Namespace: "/a", Payload: json.RawMessage(`{"sid":"x"}`)},
		{Type: Disconnect, Namespace: "/"},
		{Type: Event, Namespace: "/", Args: raw(`"e"`, `0`, `127`, `255`, `65535`, `4294967295`, `9007199254740991`, `-1`, `-33`, `-200`, `-70000`, `-5000000000`, `1.5`, `true`, `false`, `null`)},
		{Type: Event, Namespace: "/", ID: 300, HasID: true, Args: raw(`"e"`, `{"k":[{"x":"`+long+`"},[]],"l":{}}`)},
		{Type: Ack, Namespace: "/", ID: 0, HasID: true, Args: raw(`{"_placeholder":true,"num":0}`, `[{"_placeholder":true,"num":1}]`), Attachments: [][]byte{{1}, bytes.Repeat([]byte{2}, 300)}},
		{Type: ConnectError, Namespace: "/", Payload: json.RawMessage(`{"message":"no"}`)},
	} {
		b, err := MsgPack{}.Encode(p)
		if err != nil {
			t.Errorf("%+v: %v", p, err)
			continue
		}
		q, err := MsgPack{}.Decode(b)
		if err != nil || !same(p, q) || !slices.EqualFunc(p.Attachments, q.Attachments, bytes.Equal) {
			t.Errorf("%+v came back as %+v, %v", p, q, err)
		}
	}
}

// Bytes as socket.io-msgpack-parser 3.0 writes them.
func TestMsgPackReadsWhatTheClientWrites(t *testing.T) {
	msg := "\x84\xa4type\x02\xa4data\x94\xa3day\xd7\xff\x00\x00\x00\x00\x67\x8a\x00\x00\xd4\x00\x00\xca\x3f\xc0\x00\x00\xa2id\x07\xa3nsp\xa1/"
	p, err := MsgPack{}.Decode([]byte(msg))
	if err != nil || p.Type != Event || p.ID != 7 || len(p.Args) != 4 || string(p.Args[1]) != `"2025-01-17T07:00:16.000Z"` ||
		string(p.Args[2]) != "null" || string(p.Args[3]) != "1.5" {
		t.Errorf("got %+v %s, %v", p, p.Args, err)
	}
}

func FuzzMsgPack(f *testing.F) {
	f.Add([]byte("\x83\xa4type\x02\xa4data\x92\xa1e\xc4\x01a\xa3nsp\xa1/"))
	f.Add([]byte("\xdd\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := MsgPack{}.Decode(b)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		c, err := MsgPack{}.Encode(p)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if q, err := (MsgPack{}).Decode(c); err != nil || len(q.Args) != len(p.Args) {
			t.Fatalf("%+v came back as %+v, %v", p, q, err)
		}
	})
}
