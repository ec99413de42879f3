package redisadapter_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/supabridge/supabridge/internal/eventually"
	"github.com/supabridge/supabridge/internal/redistest"
	"github.com/supabridge/supabridge/socketio"
	"github.com/supabridge/supabridge/socketio/redisadapter"
)

// sharing are two servers of ours on a Redis Cluster of three masters, and a client of the one in a
// room at each master.
type sharing struct {
	*peer
	cluster *redistest.Cluster
	client  *redis.ClusterClient
	io      [2]*socketio.Server
	adapter [2]*redisadapter.Adapter
	home    *redistest.Server // the master of the channel that every server listens to
	rooms   []string          // one at the home, then those at the others
}

const namespaceChannel = "socket.io#/#"

func channelOf(room string) string { return namespaceChannel + room + "#" }

func newSharing(t *testing.T) *sharing {
	s := &sharing{peer: newPeer(t), cluster: redistest.StartCluster(t, 3)}
	s.client = s.cluster.Client()
	t.Cleanup(func() { _ = s.client.Close() })
	var urls [2]string
	for i := range s.io {
		s.io[i], s.adapter[i], urls[i] = server(t, s.cluster.Client(), redisadapter.Options{Mode: redisadapter.Sharded, MaxAge: time.Minute})
	}
	s.home = s.cluster.Master(namespaceChannel)
	s.text("return connect('c', %q)", urls[0])
	at := make(map[string]bool)
	for n := 0; len(s.rooms) < 3; n++ {
		room := fmt.Sprint("room ", n)
		master := s.cluster.Master(channelOf(room)).Addr
		if at[master] || len(s.rooms) == 0 && master != s.home.Addr {
			continue
		}
		at[master] = true
		s.rooms = append(s.rooms, room)
		s.do("await clients.c.socket.emitWithAck('join', %q)", room)
	}
	eventually.True(t, "both listen", func() bool {
		n, err := s.adapter[1].Nodes(t.Context(), "/")
		return err == nil && n == 1 && s.adapter[0].Stats().Up && s.adapter[1].Stats().Up
	})
	s.heard()
	return s
}

// heard waits until the first server listens to the rooms.
func (s *sharing) heard() {
	s.t.Helper()
	for _, room := range s.rooms {
		eventually.True(s.t, "somebody listens to "+room, func() bool {
			s.client.ReloadState(s.t.Context())
			return listeners(s.t, s.client, channelOf(room)) == 1
		})
	}
}

// send sends to the room from the other server.
func (s *sharing) send(room, what string) {
	s.t.Helper()
	if err := s.io[1].To(room).Emit("e", what); err != nil {
		s.t.Fatal(err)
	}
}

// expect waits for what was sent, in this order.
func (s *sharing) expect(what ...string) {
	s.t.Helper()
	for _, what := range what {
		if got := s.do("return next('c', 'e', 60_000)"); got != fmt.Sprintf("[%q]", what) {
			s.t.Fatalf("got %s, want %q", got, what)
		}
	}
}

// settled sends to all rooms, and expects that and nothing else.
func (s *sharing) settled(mark string) {
	s.t.Helper()
	for _, room := range s.rooms {
		what := mark + " to " + room
		s.send(room, what)
		s.expect(what)
	}
	if left := s.do("return clients.c.events"); left != "[]" {
		s.t.Errorf("came besides: %s", left)
	}
}

func TestAMasterThatDiesHoldsUpOnlyItsOwnRooms(t *testing.T) {
	s := newSharing(t)
	s.settled("at first")
	master := s.cluster.Master(channelOf(s.rooms[1]))
	master.Kill()
	for i := range 3 {
		s.send(s.rooms[1], fmt.Sprint("held up ", i))
	}
	s.send(s.rooms[2], "not held up")
	s.expect("not held up", "held up 0", "held up 1", "held up 2")
	s.settled("after")
	for i, a := range s.adapter {
		if stats := a.Stats(); stats.Breaks > 0 || stats.Dropped > 0 || stats.Queued > 0 {
			t.Errorf("server %d: %+v, want it never apart and nothing dropped", i, stats)
		}
	}
	master.Run() // as a replica of the one that took its place
	eventually.True(t, "it is back", func() bool { return s.cluster.Follows(master) })
	s.cluster.Master(channelOf(s.rooms[1])).Kill()
	s.send(s.rooms[1], "and back")
	s.expect("and back")
	s.settled("in the end")
}

func TestAMasterThatAllListenToIsReplaced(t *testing.T) {
	s := newSharing(t)
	s.home.Kill()
	eventually.True(t, "both notice", func() bool { return s.adapter[0].Stats().Breaks == 1 && s.adapter[1].Stats().Breaks == 1 })
	_ = s.io[1].To(s.rooms[0], s.rooms[2]).Emit("e", "meanwhile") // of several rooms it goes by the channel of all
	s.expect("meanwhile")
	s.heard()
	s.settled("after")
	if replies, err := s.io[1].To(s.rooms[2]).Fetch(t.Context()); err != nil || len(replies) != 1 {
		t.Errorf("fetched %+v, %v", replies, err)
	}
}

func TestARoomIsHeardAtTheMasterThatItsSlotMovesTo(t *testing.T) {
	s := newSharing(t)
	channel := channelOf(s.rooms[1])
	from, to := s.cluster.Master(channel), s.cluster.Master(channelOf(s.rooms[2]))
	s.cluster.Move(channel, from, to)
	heardAt := func(server *redistest.Server, rooms ...string) {
		client := server.Client()
		defer func() { _ = client.Close() }()
		for _, room := range rooms {
			eventually.True(t, room+" is heard there", func() bool { return listeners(t, client, channelOf(room)) == 1 })
		}
	}
	heardAt(to, s.rooms[1])
	s.settled("moved")
	heardAt(s.cluster.Promote(channelOf(s.rooms[2])), s.rooms[1], s.rooms[2]) // in order: the old master becomes a replica, and lives on
	s.settled("handed over")
	if stats := s.adapter[0].Stats(); stats.Breaks > 0 {
		t.Errorf("%+v, want it never apart", stats)
	}
}

func TestSlotsAreThoseOfRedis(t *testing.T) {
	client := redistest.Start(t, "--cluster-enabled", "yes").Client()
	defer func() { _ = client.Close() }()
	for _, key := range []string{"", "a", namespaceChannel, odd, "{a}", "x{a}y{b}", "{}x", "{{a}}", "{a", "a}{", "}{x}", "\x00\xff"} {
		want, err := client.ClusterKeySlot(context.Background(), key).Result()
		if err != nil || redisadapter.Slot(key) != int(want) {
			t.Errorf("%q: %d, want %d (%v)", key, redisadapter.Slot(key), want, err)
		}
	}
}

func TestNothingComesTwiceWhileAMasterIsReplaced(t *testing.T) {
	for mode, o := range map[string]redisadapter.Options{
		"pubsub": {}, "sharded": {Mode: redisadapter.Sharded}, "streams": {Mode: redisadapter.Streams},
	} {
		t.Run(mode, func(t *testing.T) {
			p := newPeer(t)
			cluster := redistest.StartCluster(t, 3)
			o.MaxAge = time.Minute
			_, heard, url := server(t, cluster.Client(), o)
			io, sent, _ := server(t, cluster.Client(), o)
			p.text("return connect('c', %q)", url)
			const rooms = 20
			for i := range rooms {
				p.do("await clients.c.socket.emitWithAck('join', %q)", fmt.Sprint("room ", i))
			}
			eventually.True(t, "both listen", func() bool {
				n, err := sent.Nodes(t.Context(), "/")
				return err == nil && n == 1 && heard.Stats().Up && sent.Stats().Up
			})
			n := 0
			send := func() {
				if err := io.To(fmt.Sprint("room ", n%rooms)).Emit("e", n); err != nil {
					t.Fatal(err)
				}
				n++
			}
			arrived := func(i int) bool {
				return p.do("return clients.c.events.some(({ event, args }) => event === 'e' && args[0] === %d)", i) == "true"
			}
			for range rooms {
				send()
			}
			cluster.Servers[0].Kill()
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for range 400 { // until after the replica has taken over
				<-tick.C
				send()
			}
			eventually.True(t, "all is sent", func() bool { return sent.Stats().Queued == 0 && heard.Stats().Up && sent.Stats().Up })
			eventually.True(t, "what is sent now arrives from every room", func() bool {
				first := n
				for range rooms {
					send()
				}
				for i := range rooms {
					for deadline := time.Now().Add(time.Second); !arrived(first + i); {
						if time.Now().After(deadline) {
							return false
						}
					}
				}
				return true
			})
			if twice := p.do(`const seen = clients.c.events.filter(({ event }) => event === 'e').map(({ args }) => args[0]);
				return seen.filter((n, i) => seen.indexOf(n) !== i)`); twice != "[]" {
				t.Errorf("came twice: %s", twice)
			}
			t.Logf("sent %d, %+v; heard %+v", n, sent.Stats(), heard.Stats())
		})
	}
}
