package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxResident is what the daemon may take at its peak, in bytes, while strangers send what they
// can. At rest it takes some 30 MiB.
const maxResident = 128 << 20

// memoryAttack opens connections that bring no credential, sends what it wants kept, and leaves
// them open.
type memoryAttack struct {
	connections int
	send        func(conn net.Conn, address string) error
}

// filler is what attackers send. Its bytes are valid in any text.
var filler = bytes.Repeat([]byte("x"), 1<<20)

// memoryAttacks are the ways to have the daemon keep bytes of somebody who hasn't said who he is.
var memoryAttacks = map[string]memoryAttack{
	"half a frame of 999 kB": {600, func(conn net.Conn, address string) error {
		return send(conn, upgrade(address), frameHeader(0x81, 1_000_000), filler[:999_000])
	}},
	"half a frame within the bound": {1000, func(conn net.Conn, address string) error {
		return send(conn, upgrade(address), frameHeader(0x81, 64<<10), filler[:64<<10-1])
	}},
	"fragments without an end": {600, func(conn net.Conn, address string) error {
		parts := [][]byte{upgrade(address), frameHeader(0x01, 30_000), filler[:30_000]}
		for range 32 {
			parts = append(parts, frameHeader(0x00, 30_000), filler[:30_000])
		}
		return send(conn, parts...)
	}},
	"attachments before the connect": {60, func(conn net.Conn, address string) error {
		return send(conn, append([][]byte{upgrade(address)}, attachments()...)...)
	}},
	"attachments after a connect that is refused": {60, func(conn net.Conn, address string) error {
		connect := []byte(`40{"token":"nobody's"}`)
		parts := [][]byte{upgrade(address), frameHeader(0x81, len(connect)), connect}
		return send(conn, append(parts, attachments()...)...)
	}},
	"half a body of long-polling": {400, func(conn net.Conn, address string) error {
		if err := send(conn, []byte("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: "+address+"\r\n\r\n")); err != nil {
			return err
		}
		answer := make([]byte, 2048)
		n, err := conn.Read(answer)
		if err != nil {
			return err
		}
		sid := regexp.MustCompile(`"sid":"([^"]+)"`).FindSubmatch(answer[:n])
		if sid == nil {
			return fmt.Errorf("no session: %s", answer[:n])
		}
		return send(conn, post("/socket.io/?EIO=4&transport=polling&sid="+string(sid[1]), address, 1_000_000, ""), filler[:999_000])
	}},
	"headers that never end": {800, func(conn net.Conn, address string) error {
		return send(conn, []byte("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: "+address+"\r\nCookie: "), filler[:31<<10])
	}},
	"long headers of websockets": {800, func(conn net.Conn, address string) error {
		return send(conn, []byte("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: "+address+"\r\nCookie: "), filler[:31<<10],
			[]byte("\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"))
	}},
	"long headers of long-polling": {600, func(conn net.Conn, address string) error {
		for range 3 {
			if err := send(conn, []byte("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: "+address+"\r\nCookie: "), filler[:31<<10], []byte("\r\n\r\n")); err != nil {
				return err
			}
			if _, err := conn.Read(make([]byte, 2048)); err != nil {
				return err
			}
		}
		return nil
	}},
	"a publisher without a secret": {400, func(conn net.Conn, address string) error {
		return send(conn, post("/api/publish", address, 1<<20, ""), filler[:1<<20-1])
	}},
	"a publisher with a wrong secret": {400, func(conn net.Conn, address string) error {
		return send(conn, post("/api/disconnect", address, 1<<20, "Authorization: Bearer wrong\r\n"), filler[:1<<20-1])
	}},
	"a publisher with a forged signature": {400, func(conn net.Conn, address string) error {
		header := fmt.Sprintf("X-Bridge-Signature: t=%d,v1=%s\r\n", time.Now().Unix(), strings.Repeat("ab", 32))
		return send(conn, post("/api/publish", address, 1<<20, header), filler[:1<<20-1])
	}},
	"Twilio without a signature": {1500, func(conn net.Conn, address string) error {
		return send(conn, post("/webhooks/twilio", address, 256<<10, ""), filler[:256<<10-1])
	}},
	"Twilio with a forged signature": {1500, func(conn net.Conn, address string) error {
		return send(conn, post("/webhooks/twilio", address, 256<<10, "X-Twilio-Signature: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n"), filler[:256<<10-1])
	}},
	"a database webhook without a secret": {400, func(conn net.Conn, address string) error {
		return send(conn, post("/webhooks/supabase", address, 1<<20, ""), filler[:1<<20-1])
	}},
}

// TestAbuseByMemoryBeforeIdentity has strangers send what they can, and asks how much memory the
// daemon took at its peak. Meanwhile a browser that behaves must be served.
func TestAbuseByMemoryBeforeIdentity(t *testing.T) {
	if raceEnabled {
		t.Skip("scripts/test runs it without the race detector, which multiplies memory")
	}
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("the peak of a process is read from /proc, which this system does not have")
	}
	project := standinVariables(t)
	environ := append(project, "SUPABRIDGE_LOG_LEVEL=error", "SUPABRIDGE_PUBLISH_SECRET=a secret nobody guesses",
		"SUPABRIDGE_WEBHOOKS_TWILIO_AUTH_TOKENS=0123456789abcdef0123456789abcdef", "SUPABRIDGE_WEBHOOKS_SUPABASE_SECRET=another secret nobody guesses",
		"SUPABRIDGE_WEBHOOKS_OUTBOX_PATH="+t.TempDir()+"/outbox.db")
	for name, attack := range memoryAttacks {
		t.Run(name, func(t *testing.T) {
			d := startDaemon(t, environ)
			if t.Failed() {
				t.FailNow() // it isn't there to be attacked
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			conns := make(chan net.Conn, attack.connections)
			slots := make(chan struct{}, 100) // that are opened at once
			var sent, cut int
			var mu sync.Mutex
			var wait sync.WaitGroup
			for range attack.connections {
				wait.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.address)
					if err != nil {
						t.Errorf("open a connection: %v", err)
						cancel() // the others would say the same
						return
					}
					conns <- conn
					_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // one that the daemon does not read is no success
					err = attack.send(conn, d.address)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						sent++
					} else {
						cut++
					}
				})
			}
			wait.Wait()
			defer func() {
				close(conns)
				for conn := range conns {
					_ = conn.Close()
				}
			}()
			behave(ctx, t, d.address)
			peak := d.peak(t)
			t.Logf("%d sent all they had, %d were cut off; peak %d MiB", sent, cut, peak>>20)
			if peak > maxResident {
				t.Errorf("the daemon took %d MiB at its peak, want at most %d", peak>>20, maxResident>>20)
			}
		})
	}
}

// behave is a browser with a long token that enters a room and sends a large event, for which it
// gets its answer.
func behave(ctx context.Context, t *testing.T, address string) {
	t.Helper()
	c, err := connect(ctx, address, tokenFor(t, anaID)+`","cookies":"`+strings.Repeat("c", 16<<10), nil)
	if err != nil {
		t.Fatalf("a browser that behaves can't connect: %v", err)
	}
	defer c.close()
	if answer, err := c.ask(ctx, "join_conversation", bakery); err != nil || !strings.Contains(answer, `"success":true`) {
		t.Fatalf("a browser that behaves can't enter its room: %s (%v)", answer, err)
	}
	if answer, err := c.ask(ctx, "heartbeat", strings.Repeat("h", 200_000)); err != nil {
		t.Fatalf("a browser that behaves can't send a large event: %s (%v)", answer, err)
	}
}

// peak is the most memory that the daemon has had, in bytes.
func (d *daemon) peak(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		t.Fatalf("no peak in %s", status)
	}
	kb, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

func send(conn net.Conn, parts ...[]byte) error {
	for _, part := range parts {
		if _, err := conn.Write(part); err != nil {
			return err
		}
	}
	return nil
}

func upgrade(address string) []byte {
	return []byte("GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: " + address +
		"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
}

// frameHeader begins a frame of a client whose mask changes nothing.
func frameHeader(opcode byte, size int) []byte {
	b := binary.BigEndian.AppendUint64([]byte{opcode, 0x80 | 127}, uint64(size))
	return append(b, 0, 0, 0, 0)
}

// attachments are a binary event and nine of its ten attachments.
func attachments() [][]byte {
	event := []byte(`4510-["x",{"_placeholder":true,"num":0}]`)
	parts := [][]byte{frameHeader(0x81, len(event)), event}
	for range 9 {
		parts = append(parts, frameHeader(0x82, 999_000), filler[:999_000])
	}
	return parts
}

func post(path, address string, length int, header string) []byte {
	return []byte("POST " + path + " HTTP/1.1\r\nHost: " + address + "\r\nContent-Type: application/x-www-form-urlencoded\r\n" + header +
		"Content-Length: " + strconv.Itoa(length) + "\r\n\r\n")
}
