package engineio

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// gathered is what a reader made of some bytes: messages and pings in order, and whether it came to
// an error.
type gathered struct {
	items  []string
	failed bool
}

func (g *gathered) add(kind string, data []byte) { g.items = append(g.items, kind+string(data)) }

const framesLimit = 1000

// readFrames gives the bytes to frames in pieces of the size given.
func readFrames(data []byte, piece int) (g gathered) {
	f := frames{limit: framesLimit}
	var rest []byte
	for len(data) > 0 {
		n := min(piece, len(data))
		b := append(bytes.Clone(rest), data[:n]...)
		data = data[n:]
		for {
			op, payload, after, ok, err := f.next(b)
			if err != nil {
				g.failed = true
				return g
			}
			if !ok {
				rest = bytes.Clone(after)
				break
			}
			switch op {
			case opcodeText:
				g.add("text ", payload)
			case opcodeBinary:
				g.add("binary ", payload)
			case opcodePing:
				g.add("ping ", payload)
			case opcodeClose:
				g.failed = true
				return g
			}
			b = after
		}
		if len(rest) > maxUnparsed {
			panic("more is left untouched than allowed")
		}
	}
	return g
}

// replay is a network connection on which the bytes come.
type replay struct{ bytes.Reader }

func (*replay) Write(p []byte) (int, error)      { return len(p), nil }
func (*replay) Close() error                     { return nil }
func (*replay) LocalAddr() net.Addr              { return nil }
func (*replay) RemoteAddr() net.Addr             { return nil }
func (*replay) SetDeadline(time.Time) error      { return nil }
func (*replay) SetReadDeadline(time.Time) error  { return nil }
func (*replay) SetWriteDeadline(time.Time) error { return nil }

// hijackable is a response to an upgrade request that came on nc.
type hijackable struct {
	httptest.ResponseRecorder
	nc net.Conn
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.nc, bufio.NewReadWriter(bufio.NewReader(h.nc), bufio.NewWriter(h.nc)), nil
}

// gorillaServer is gorilla/websocket's end of nc.
func gorillaServer(t *testing.T, nc net.Conn) *websocket.Conn {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13",
		"Sec-Websocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		r.Header.Set(name, value)
	}
	ws, err := (&websocket.Upgrader{}).Upgrade(&hijackable{nc: nc}, r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

// readGorilla has gorilla/websocket read the bytes.
func readGorilla(t *testing.T, data []byte) (g gathered) {
	nc := new(replay)
	ws := gorillaServer(t, nc)
	nc.Reset(data)
	ws.SetReadLimit(framesLimit)
	ws.SetPingHandler(func(s string) error { g.add("ping ", []byte(s)); return nil })
	for {
		mt, b, err := ws.ReadMessage()
		if err != nil {
			// An end in the middle is no error of the bytes so far.
			g.failed = !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !websocket.IsCloseError(err, websocket.CloseAbnormalClosure)
			return g
		}
		if mt == websocket.TextMessage {
			g.add("text ", b)
		} else {
			g.add("binary ", b)
		}
	}
}

// Whatever a client sends, in whatever pieces it comes: what is read is what gorilla/websocket
// reads.
func FuzzFramesAgreeWithGorilla(f *testing.F) {
	key := []byte{1, 2, 3, 4}
	masked := func(op byte, size int) []byte {
		b := append([]byte{op, 0x80 | byte(size)}, key...)
		for i := range size {
			b = append(b, byte('a'+i%26)^key[i%4])
		}
		return b
	}
	long := append([]byte{0x82, 0x80 | 126, 1, 0}, key...)
	long = append(long, make([]byte, 256)...)
	f.Add(masked(0x81, 5), 3)
	f.Add(append(masked(0x01, 7), append(masked(0x89, 3), masked(0x80, 11)...)...), 4)
	f.Add(append(long, masked(0x82, 0)...), 100)
	f.Add(append([]byte{0x82, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0}, key...), 1000)
	f.Add([]byte{0x81, 0x05, 'h', 'e', 'l', 'l', 'o'}, 2)
	f.Add(masked(0x88, 0), 1)
	f.Add(append(masked(0x00, 2), masked(0xc1, 2)...), 1)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		want := readGorilla(t, data)
		for _, p := range []int{max(1, piece), 1, len(data) + 1} {
			got := readFrames(data, p)
			if !equal(got.items, want.items) || got.failed != want.failed {
				t.Fatalf("%x in pieces of %d:\n%q, failed %v\ngorilla/websocket:\n%q, failed %v", data, p, got.items, got.failed, want.items, want.failed)
			}
		}
	})
}

func equal(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func BenchmarkFrame(b *testing.B) {
	data := append([]byte{0x81, 0x80 | 64, 1, 2, 3, 4}, make([]byte, 64)...)
	f := frames{limit: framesLimit}
	for b.Loop() {
		if _, _, _, ok, err := f.next(data); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
