// Package parser turns Socket.IO v5 packets into bytes and back.
//
// A packet travels in one or more Engine.IO messages: one text message, then one binary message for
// each attachment. Decoding stops at what routing needs: a packet keeps its payload as raw JSON
// text, checked against the JSON grammar but not decoded, so that a server can pass an argument on
// without ever building a value from it.
//
//	p, err := decoder.Text([]byte(`2/chat,7["message",{"text":"hi"}]`))
//	// p.Type == parser.Event, p.Namespace == "/chat", p.ID == 7, p.Args[1] == `{"text":"hi"}`
//
// Everything a client may send is bounded: attachments a packet, nesting of the JSON, digits of an
// ack id. What breaks the rules is an error; nothing panics. The package starts no goroutine and
// keeps no state outside a [Decoder].
package parser
