package body_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/supabridge/supabridge/bridge/body"
)

const limit = 40_000

// serve answers each request with what became of its body.
func serve(t *testing.T, b *body.Budget) (address string, read chan int) {
	t.Helper()
	read = make(chan int, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = counted{r.Body, read}
		content, done, err := b.Read(w, r, limit)
		defer done()
		_, _ = fmt.Fprintf(w, "%d %v", len(content), err)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), read
}

// counted reports what was read of a body.
type counted struct {
	io.ReadCloser
	read chan int
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if n > 0 {
		c.read <- n
	}
	return n, err
}

func half(t *testing.T, address string, size int) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", limit, strings.Repeat("x", size)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestABodyIsReadWhole(t *testing.T) {
	t.Parallel()
	address, _ := serve(t, body.NewBudget(2*limit, nil))
	for size, want := range map[int]string{0: "0 <nil>", 10: "10 <nil>", limit: fmt.Sprintf("%d <nil>", limit), limit + 1: "0 " + body.ErrTooLong.Error()} {
		resp, err := http.Post("http://"+address, "", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(got) != want {
			t.Errorf("of %d bytes: %s (%v), want %s", size, got, err, want)
		}
	}
}

// TestTheOldestHalfIsGivenUp has halves fill the budget: the first of them pays, and a body that
// comes whole is read.
func TestTheOldestHalfIsGivenUp(t *testing.T) {
	t.Parallel()
	var ended atomic.Int64
	address, read := serve(t, body.NewBudget(4*limit, func() { ended.Add(1) }))
	conns := make([]net.Conn, 0, 4)
	for range 4 {
		conns = append(conns, half(t, address, limit-1))
		for n := 0; n < limit-1; {
			n += <-read
		}
	}
	answer, err := io.ReadAll(io.LimitReader(conns[0], 1000))
	if err != nil && !errors.Is(err, net.ErrClosed) || !strings.Contains(string(answer), body.ErrBudget.Error()) {
		t.Errorf("the oldest half is answered %q (%v), want %q", answer, err, body.ErrBudget)
	}
	resp, err := http.Post("http://"+address, "", strings.NewReader(strings.Repeat("x", 1000)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || string(got) != "1000 <nil>" {
		t.Errorf("a body that comes whole is answered %s (%v)", got, err)
	}
	if n := ended.Load(); n < 1 || n > 2 {
		t.Errorf("%d were given up, want 1 or 2", n)
	}
}
