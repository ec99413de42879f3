package redisadapter_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// detour is a way to Redis on which patterns are not subscribed to before they are let.
type detour struct {
	address string
	came    chan struct{} // has one once somebody has connected
	let     chan struct{}
	once    sync.Once
}

// open lets patterns through.
func (d *detour) open() { d.once.Do(func() { close(d.let) }) }

func newDetour(t *testing.T, r *redistest.Server) *detour {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &detour{address: l.Addr().String(), came: make(chan struct{}, 1), let: make(chan struct{})}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case d.came <- struct{}{}:
			default:
			}
			to, err := net.Dial("tcp", r.Addr)
			if err != nil {
				_ = from.Close()
				continue
			}
			all.Go(func() { d.pass(from, to) })
			all.Go(func() {
				_, _ = io.Copy(from, to) // until one end closes
				_ = from.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		d.open()
		all.Wait()
	})
	return d
}

func (d *detour) pass(from, to net.Conn) {
	defer func() { _ = to.Close() }()
	held, part := []byte(nil), make([]byte, 4096)
	for {
		n, err := from.Read(part)
		if err != nil {
			return
		}
		held = append(held, part[:n]...)
		if at := bytes.Index(held, []byte("*2\r\n$10\r\npsubscribe")); at >= 0 {
			if _, err := to.Write(held[:at]); err != nil {
				return
			}
			held = held[at:]
			<-d.let
		}
		if _, err := to.Write(held); err != nil {
			return
		}
		held = held[:0]
	}
}

func TestANodeIsUpOnceItHearsAllThatItWants(t *testing.T) {
	r := redistest.Start(t)
	d := newDetour(t, r)
	client := redis.NewClient(&redis.Options{Addr: d.address, MaxRetries: -1})
	a, err := redisadapter.New(client, redisadapter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(&host{name: "a"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.open()
		_ = a.Close()
		_ = client.Close()
	})
	<-d.came // before it knows what there is to hear
	a.Open("/")
	direct := r.Client()
	defer func() { _ = direct.Close() }()
	eventually.True(t, "it hears requests", func() bool {
		n, err := direct.PubSubNumSub(t.Context(), "socket.io-request#/#").Result()
		return err == nil && n["socket.io-request#/#"] == 1
	})
	for wait := time.After(100 * time.Millisecond); wait != nil; {
		select {
		case <-wait:
			wait = nil
		default:
			if a.Stats().Up {
				t.Fatal("it is up and hears no broadcasts")
			}
		}
	}
	d.open()
	eventually.True(t, "it is up", func() bool { return a.Stats().Up })
}
