package realtimeshare

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/supabridge/supabridge/bridge/row"
	"github.com/supabridge/supabridge/phoenix"
)

// elsewhere is a presence of others that the house knows of.
type elsewhere struct {
	key  string // by which it does; it stays while the presence is updated, which gives that another reference
	user User
}

// hearState takes everybody who is in a channel, which is also everybody who is: those not among
// them have left.
func (s *Sharer) hearState(r *room, present []phoenix.Presence) {
	now := make(map[string]bool)
	for _, p := range present {
		for ref := range s.users(r, p) {
			now[ref] = true
		}
		s.come(r, p, nil)
	}
	for ref := range r.there {
		if !now[ref] {
			s.gone(r, ref)
		}
	}
}

func (s *Sharer) hearDiff(r *room, d *phoenix.PresenceDiff) {
	for _, p := range d.Joins {
		s.come(r, p, nil)
	}
	for _, u := range d.Updates {
		former := make(map[string]elsewhere) // by user
		for ref := range s.users(r, u.Before) {
			if known, ok := r.there[ref]; ok {
				former[known.user.ID] = known
				delete(r.there, ref)
			}
		}
		s.come(r, u.After, former)
		for _, left := range former {
			s.opts.House.Leave(r.tenant, left.key, left.user)
		}
	}
	for _, p := range d.Leaves {
		for ref := range s.users(r, p) {
			s.gone(r, ref)
		}
	}
}

// users reads who a presence is, by reference: one user, or those that another bridge lists. Our
// own are nobody's.
func (s *Sharer) users(r *room, p phoenix.Presence) map[string]User {
	meta, err := row.Parse(p.Meta)
	if err != nil || meta.Text("via") == s.id {
		return nil
	}
	all := make(map[string]User)
	var listed []json.RawMessage
	if json.Unmarshal(meta.Get("users"), &listed) == nil && len(listed) > 0 {
		for _, one := range listed[:min(len(listed), maxListed)] {
			if object, err := row.Parse(one); err == nil {
				if u := person(object); u.ID != "" {
					all[p.Ref+":"+u.ID] = u
				}
			}
		}
		return all
	}
	u := person(meta)
	if u.ID == "" && len(p.Key) <= maxText {
		u.ID = p.Key
	}
	if u.ID != "" {
		all[p.Ref] = u
	}
	return all
}

// come takes a presence. Those who were there before it was updated are taken from former.
func (s *Sharer) come(r *room, p phoenix.Presence, former map[string]elsewhere) {
	for ref, user := range s.users(r, p) {
		known, ok := former[user.ID]
		if ok {
			delete(former, user.ID)
		} else if known, ok = r.there[ref]; !ok {
			known.key = r.topic + ":" + ref
		}
		if !ok && len(r.there) >= maxElsewhere {
			s.metrics.received.WithLabelValues("presence", "dropped").Inc()
			continue
		}
		r.there[ref] = elsewhere{known.key, user}
		s.metrics.received.WithLabelValues("presence", "taken").Inc()
		s.opts.House.Enter(r.tenant, known.key, user)
	}
}

func (s *Sharer) gone(r *room, ref string) {
	if known, ok := r.there[ref]; ok {
		delete(r.there, ref)
		s.opts.House.Leave(r.tenant, known.key, known.user)
	}
}

// forget has everybody gone whom a channel told of.
func (s *Sharer) forget(r *room) {
	for ref := range r.there {
		s.gone(r, ref)
	}
}

// table is where a tenant's users sit.
type table struct {
	seats []*seat // nil where nobody sits
}

// seat is a user who is announced on a channel of their own.
type seat struct {
	user     User
	since    time.Time
	channel  *phoenix.Channel
	announce *announcer
}

// meta is what is tracked of a user, with the fields that supabase-js frontends look for.
type meta struct {
	UserID    string `json:"userId"`
	UserID2   string `json:"user_id"`
	UserName  string `json:"userName,omitempty"`
	UserName2 string `json:"user_name,omitempty"`
	Status    string `json:"status"`
	OnlineAt  string `json:"online_at,omitempty"`
	Via       string `json:"via,omitempty"`
}

func (s *Sharer) metaOf(u User, since time.Time) meta {
	return meta{
		UserID:    u.ID,
		UserID2:   u.ID,
		UserName:  u.Name,
		UserName2: u.Name,
		Status:    u.Status,
		OnlineAt:  since.UTC().Format(time.RFC3339Nano),
		Via:       s.id,
	}
}

// seat announces who is online: each on a channel of their own as long as there are seats, the
// others in a list.
func (s *Sharer) seat(ctx context.Context, present map[string][]User) {
	for tenant, t := range s.tables {
		if len(present[tenant]) == 0 {
			for i := range t.seats {
				s.free(t, i)
			}
			delete(s.tables, tenant)
		}
	}
	for _, r := range s.rooms {
		if r.presence && len(present[r.tenant]) == 0 {
			s.listRest(r, nil)
		}
	}
	for tenant, users := range present {
		t := s.tables[tenant]
		if t == nil {
			t = &table{seats: make([]*seat, s.opts.Seats)}
			s.tables[tenant] = t
		}
		topic := expand(s.opts.Presence.Topic, "", tenant)
		rest := s.place(ctx, t, topic, users)
		if r := s.rooms[topic]; r != nil && r.presence {
			s.listRest(r, rest)
		}
	}
}

// place seats users, keeping those who sit where they are, and gives those for whom there is no
// seat.
func (s *Sharer) place(ctx context.Context, t *table, topic string, users []User) (rest []User) {
	for i, seat := range t.seats {
		if seat == nil {
			continue
		}
		at := slices.IndexFunc(users, func(u User) bool { return u.ID == seat.user.ID })
		switch {
		case at < 0:
			s.free(t, i)
		case users[at] != seat.user:
			seat.user = users[at]
			seat.announce.say(marshal(s.metaOf(seat.user, seat.since)))
		}
	}
	for _, u := range users {
		if slices.ContainsFunc(t.seats, func(seat *seat) bool { return seat != nil && seat.user.ID == u.ID }) {
			continue
		}
		free := slices.Index(t.seats, nil)
		if free < 0 || s.sit(ctx, t, free, topic, u) != nil {
			rest = append(rest, u)
		}
	}
	return rest
}

// sit gives a user a seat.
func (s *Sharer) sit(ctx context.Context, t *table, i int, topic string, u User) error {
	client, err := s.lane(1 + i)
	if err != nil {
		return err
	}
	ch, err := client.Channel(
		topic,
		phoenix.ChannelOptions{
			Private:  s.closed || s.opts.Presence.Private,
			Presence: phoenix.PresenceOptions{Key: u.ID},
			Queue:    channelRoom,
		},
	)
	if err != nil {
		return fmt.Errorf("seat %s: %w", strconv.Itoa(i), err) // somebody is still getting up: the next look tries again
	}
	s.follow(ch, func(phoenix.Event) {})
	if err := ch.Subscribe(ctx); err != nil {
		return err
	}
	now := time.Now()
	t.seats[i] = &seat{user: u, since: now, channel: ch, announce: s.announcer(ch)}
	t.seats[i].announce.say(marshal(s.metaOf(u, now)))
	return nil
}

func (s *Sharer) free(t *table, i int) {
	if seat := t.seats[i]; seat != nil {
		seat.announce.stop()
		s.depart(seat.channel)
		t.seats[i] = nil
	}
}

// listRest announces the users who have no seat together.
func (s *Sharer) listRest(r *room, users []User) {
	if len(users) == 0 && r.list == nil {
		return
	}
	var body json.RawMessage
	if len(users) > 0 {
		list := make([]meta, 0, min(len(users), maxListed))
		for _, u := range users[:min(len(users), maxListed)] {
			list = append(list, meta{UserID: u.ID, UserID2: u.ID, UserName: u.Name, UserName2: u.Name, Status: u.Status})
		}
		body = marshal(struct {
			Users []meta `json:"users"`
			Via   string `json:"via"`
		}{list, s.id})
	}
	if string(body) == r.listed {
		return
	}
	if r.list == nil {
		r.list = s.announcer(r.channel)
	}
	r.listed = string(body)
	r.list.say(body)
}

// announcer tracks what a channel announces, the latest alone: the client spaces calls to what
// Realtime allows. A change is a leave and a join: tracked over what was tracked before,
// supabase-js 2.109 keeps both, and the former for ever.
type announcer struct {
	latest chan json.RawMessage
	stop   context.CancelFunc
}

func (s *Sharer) announcer(ch *phoenix.Channel) *announcer {
	ctx, stop := context.WithCancel(s.over)
	a := &announcer{latest: make(chan json.RawMessage, 1), stop: stop}
	s.workers.Go(func() {
		tracked := false
		for {
			select {
			case <-ctx.Done():
				return
			case body := <-a.latest:
				var err error
				if tracked {
					err = ch.Untrack(ctx)
				}
				if tracked = body != nil; tracked && err == nil {
					err = ch.Track(ctx, body)
				}
				if err != nil && ctx.Err() == nil {
					s.opts.Log.Warn().Err(err).Str("topic", ch.Topic()).Msg("who is online could not be announced")
				}
			}
		}
	})
	return a
}

// say has something announced in place of what waits; nil announces nothing any more. Only Run's
// goroutine says.
func (a *announcer) say(body json.RawMessage) {
	select {
	case <-a.latest:
	default:
	}
	a.latest <- body
}
