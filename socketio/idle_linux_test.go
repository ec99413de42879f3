package socketio_test

import (
	"net"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkIdle measures what the server keeps for a connection at rest, in bytes of live heap and
// of stacks. The clients are bare descriptors, so that nothing of theirs counts. With a collector
// at its default target about twice that is resident.
func BenchmarkIdle(b *testing.B) {
	io, url := benchServer(b)
	addr := strings.TrimSuffix(strings.TrimPrefix(url, "ws://"), "/socket.io/?EIO=4&transport=websocket")
	first := idleClient(b, addr) // starts what the server keeps while it runs
	defer func() { _ = unix.Close(first) }()
	const clients = 2000
	fds := make([]int, 0, clients)
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	heap, stacks := live()
	for range clients {
		fds = append(fds, idleClient(b, addr))
	}
	heapFull, stacksFull := live()
	for b.Loop() { // there is nothing to repeat
	}
	b.ReportMetric(float64(heapFull-heap)/clients, "heap-B/conn")
	b.ReportMetric(float64(stacksFull-stacks)/clients, "stack-B/conn")
	if n := io.SocketsCount(); n != clients+1 {
		b.Fatalf("%d of %d clients connected", n, clients+1)
	}
}

// live returns the bytes in use after a collection.
func live() (heap, stacks int64) {
	var m runtime.MemStats
	for range 3 { // pools let go of what they keep in the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc), int64(m.StackInuse)
}

// idleClient connects to the main namespace and returns the client's descriptor.
func idleClient(b *testing.B, addr string) int {
	b.Helper()
	tcp, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		b.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: tcp.Port, Addr: [4]byte(tcp.IP.To4())}); err != nil {
		b.Fatal(err)
	}
	request := "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nUser-Agent: idle\r\n\r\n"
	connect := []byte{0x81, 0x82, 0, 0, 0, 0, '4', '0'}
	if _, err := unix.Write(fd, append([]byte(request), connect...)); err != nil {
		b.Fatal(err)
	}
	var got []byte
	for !strings.Contains(string(got), `40{"sid"`) {
		buf := make([]byte, 1024)
		n, err := unix.Read(fd, buf)
		if err != nil || n == 0 {
			b.Fatalf("after %q: %d bytes, %v", got, n, err)
		}
		got = append(got, buf[:n]...)
	}
	return fd
}
