package phxserver

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// Bounds of a connection. What falls behind them is cut off, never waited for.
const (
	// maxFrame is the largest frame the server reads; a larger one ends the socket.
	maxFrame = 5_000_000
	// maxMailItems and maxMailBytes bound what waits for a socket's goroutine:
	// messages to a client that reads slowly, or whose join is being refused. The
	// real server kills a socket's process at 50 MB.
	maxMailItems = 1 << 16
	maxMailBytes = 50_000_000
	// writeTimeout is how long one frame may take to leave.
	writeTimeout = 10 * time.Second
	// closeTimeout is how long the server waits for the client's half of a close.
	closeTimeout = time.Second
)

// Options adjust a Server. The zero Options are a server in a hurry: it answers
// at once where the real one waits, and limits nothing.
type Options struct {
	// Timing holds the waits of the real server.
	Timing Timing
	// Limits are those of a project's plan.
	Limits Limits
	// PrivateOnly refuses public channels.
	PrivateOnly bool
	// ToastBytes is the size from which a value is kept out of line: an UPDATE that
	// leaves such a value alone lacks the column in its record, unless the table has
	// replica identity full. Zero never leaves a column out. Postgres does so from
	// about 2000 bytes on.
	ToastBytes int
	// Log receives what the server would write to its own log, such as refused
	// joins. Nil discards it.
	Log *slog.Logger
}

// Timing holds the waits of a server; zero is no wait.
type Timing struct {
	// ConnectError is waited before a refused handshake is answered.
	ConnectError time.Duration
	// JoinError is waited before a refused join is answered; the socket does
	// nothing else meanwhile.
	JoinError time.Duration
	// Subscribe lies between the answer to a join and "Subscribed to PostgreSQL".
	Subscribe time.Duration
	// Resubscribe lies between a new token and the subscription made with it: from
	// Resubscribe to three times that.
	Resubscribe time.Duration
	// Publication lies between a change of the publication and the new subscriptions it
	// brings: see Server.PublicationChanged.
	Publication time.Duration
	// Poll is the interval at which changes are collected: after a round that found
	// none it is five times as long, after one that delivered some there is no wait.
	// Zero delivers changes as they are committed.
	Poll time.Duration
	// Idle closes a socket that sent nothing for so long, with code 1000. Zero
	// leaves it open.
	Idle time.Duration
	// Empty is how often sockets are looked at that have left all the channels they
	// had: they are cut. Zero leaves them.
	Empty time.Duration
}

// RealTiming holds the waits of Supabase's own server.
func RealTiming() Timing {
	return Timing{
		ConnectError: 2 * time.Second,
		JoinError:    5 * time.Second,
		Subscribe:    5 * time.Millisecond,
		Resubscribe:  time.Second,
		Publication:  30 * time.Second, // it looks every 60 s
		Poll:         100 * time.Millisecond,
		Idle:         66 * time.Second, // its timer of 60 s has a slack of a tenth
		Empty:        10 * time.Minute,
	}
}

// Server is the server half of Supabase Realtime. Its methods are safe for
// concurrent use. The zero Server is not usable.
type Server struct {
	backend  Backend
	opts     Options
	log      *slog.Logger
	upgrader websocket.Upgrader
	feed     *feed
	limiter  *limiter
	faults   faultSet

	ctx  context.Context // ends when the server closes
	stop context.CancelFunc
	wg   sync.WaitGroup // sockets' goroutines and the feed's

	mu      sync.Mutex // guards what follows; never held while a backend is asked
	closed  bool
	sockets map[*socket]struct{}
	rooms   map[roomKey]*room
	kept    map[string][]keptMessage // for replay, by sub-topic, oldest first
}

// NewServer starts a server for the project behind backend. It starts one
// goroutine, which Close stops.
func NewServer(backend Backend, opts Options) *Server {
	s := &Server{
		backend: backend,
		opts:    opts,
		log:     opts.Log,
		// The real server doesn't look at Origin either.
		upgrader: websocket.Upgrader{CheckOrigin: anyOrigin},
		limiter:  newLimiter(opts.Limits),
		sockets:  make(map[*socket]struct{}),
		rooms:    make(map[roomKey]*room),
		kept:     make(map[string][]keptMessage),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.faults.happen = s.happen
	s.feed = newFeed(s)
	s.wg.Go(s.feed.run)
	return s
}

// Close closes sockets with code 1012 and cuts those that have never joined a channel, as a server
// that restarts does, and waits for their goroutines. When ctx ends first the sockets are cut and
// its error is returned. Close can be called more than once.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for sock := range s.sockets {
		if sock.joined {
			sock.shut(websocket.CloseServiceRestart)
		} else {
			sock.cut()
		}
	}
	s.mu.Unlock()
	s.feed.close()

	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.mu.Lock()
		for sock := range s.sockets {
			sock.cut()
		}
		s.mu.Unlock()
		<-done
	}
	s.ClearFaults()
	s.stop()
	return err
}

var errServerClosed = errors.New("the server is closing")

// register counts a socket in, unless the server is closing.
func (s *Server) register(sock *socket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errServerClosed
	}
	s.sockets[sock] = struct{}{}
	s.wg.Add(2)
	return nil
}

func (s *Server) unregister(sock *socket) {
	s.mu.Lock()
	delete(s.sockets, sock)
	s.mu.Unlock()
}
