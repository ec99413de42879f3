package phxserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/internal/wire"
)

// Action is what a Fault does.
type Action string

// Lasting faults hold until they are stopped, or have done their Count, or their
// time For is over.
const (
	// Delay holds matching frames back for Fault.Delay; what comes after them on the
	// socket waits too. So it does with handshakes, whose event is "connect", and REST
	// broadcasts, "rest".
	Delay Action = "delay"
	// Drop loses matching frames.
	Drop Action = "drop"
	// Hang stops a socket at the first matching frame, as a half-open connection
	// does: it neither reads nor writes until the fault is over.
	Hang Action = "hang"
	// Stall loses changes while sockets, heartbeats and joins go on, as where the replication
	// from the database has died: nothing says so. With the event "broadcast" it loses the
	// broadcasts that the database sends instead, whose replication is another.
	Stall Action = "stall"
	// Refuse answers handshakes (event "connect") and REST broadcasts ("rest") with
	// Status and Message.
	Refuse Action = "refuse"
	// RefuseJoin answers joins with the reason Message, after the wait of a refused
	// join, and with Code closes the socket after that.
	RefuseJoin Action = "refuse_join"
	// Throttle ends a channel with "Too many messages per second" for each broadcast
	// it gets.
	Throttle Action = "throttle"
)

// Faults of one moment happen when they are injected, or at the times that After and
// Every name, to the sockets, or to the channels, that there are then.
const (
	// Cut ends sockets without a word.
	Cut Action = "cut"
	// Close closes sockets with Code.
	Close Action = "close"
	// Disconnect closes sockets as a server does whose project's settings changed: a
	// system event on each channel, then code 1012.
	Disconnect Action = "disconnect"
	// Expire ends channels as a token that expires does.
	Expire Action = "expire"
	// Crash ends channels with phx_error.
	Crash Action = "crash"
	// Leave ends channels with phx_close and no reason.
	Leave Action = "leave"
	// Resubscribe makes the channels' subscriptions to changes anew, with another
	// "Subscribed to PostgreSQL".
	Resubscribe Action = "resubscribe"
	// System sends channels a system event of Extension, Status and Message; a
	// status of "error" with extension "system" also ends them.
	System Action = "system"
	// Send sends channels the event Event with the payload Payload, whatever it is.
	Send Action = "send"
)

// Fault is one disturbance, to rehearse what clients make of it. The zero fields of
// what it applies to fit everything.
type Fault struct {
	Action Action `json:"action"`
	// Topic is a channel's topic without "realtime:"; of a frame, "phoenix" for
	// heartbeats.
	Topic string `json:"topic,omitempty"`
	// Event is the event of a frame, or what Send sends.
	Event string `json:"event,omitempty"`
	// Direction is in for frames from clients, out for frames to them.
	Direction string `json:"direction,omitempty"`
	// Count is how often a lasting fault strikes, or one with Every happens; zero is
	// without end.
	Count int `json:"count,omitempty"`
	// Share is how much of what fits a Drop loses, more than 0 and at most 1, spread evenly;
	// zero is all. A server's rate limit drops a share of the changes without a word.
	Share float64 `json:"share,omitempty"`
	// For is how long a lasting fault holds, or one with Every is repeated, once it has
	// begun; zero is without end.
	For time.Duration `json:"for,omitempty"`
	// After puts the fault off.
	After time.Duration `json:"after,omitempty"`
	// Every repeats a fault of a moment; the first time is after as long, or After.
	Every time.Duration `json:"every,omitempty"`
	// Delay is the time of the action delay.
	Delay time.Duration `json:"delay,omitempty"`
	// Code is a close code.
	Code int `json:"code,omitempty"`
	// Status is an HTTP status in Refuse.
	Status int `json:"status,omitempty"`
	// Message is the text of Refuse, RefuseJoin and System.
	Message string `json:"message,omitempty"`
	// Extension and Result are those of System's event: system or postgres_changes,
	// ok or error.
	Extension string `json:"extension,omitempty"`
	Result    string `json:"result,omitempty"`
	// Payload is what Send sends; {} when empty.
	Payload json.RawMessage `json:"payload,omitempty"`
}

// minEvery is the shortest time between two repetitions of a fault.
const minEvery = 10 * time.Millisecond

var lastingActions = map[Action]bool{
	Delay: true, Drop: true, Hang: true, Stall: true, Refuse: true, RefuseJoin: true, Throttle: true,
}

var momentActions = map[Action]bool{
	Cut: true, Close: true, Disconnect: true, Expire: true, Crash: true, Leave: true, Resubscribe: true, System: true,
	Send: true,
}

// Lasting says whether the fault holds for a while or is yet to come when it is
// injected; else it is over by then.
func (f Fault) Lasting() bool { return lastingActions[f.Action] || f.After > 0 || f.Every > 0 }

// check fills in what is left out, and refuses what makes no sense.
func (f *Fault) check() error {
	if !lastingActions[f.Action] && !momentActions[f.Action] {
		return fmt.Errorf("fault: unknown action %.40q, want one of %s", string(f.Action), strings.Join(knownActions(), ", "))
	}
	if f.Direction != "" && f.Direction != "in" && f.Direction != "out" {
		return fmt.Errorf("fault %s: direction %.20q, want in or out", f.Action, f.Direction)
	}
	if f.Count < 0 || f.For < 0 || f.Delay < 0 || f.After < 0 || f.Every < 0 {
		return fmt.Errorf("fault %s: count, for, delay, after and every can't be negative", f.Action)
	}
	if f.Every > 0 && lastingActions[f.Action] {
		return fmt.Errorf("fault %s: it lasts, and can't be repeated", f.Action)
	}
	if f.Every > 0 && f.Every < minEvery {
		return fmt.Errorf("fault %s: every %s is too often, want at least %s", f.Action, f.Every, minEvery)
	}
	if f.Share != 0 && (f.Action != Drop || !(f.Share > 0 && f.Share <= 1)) {
		return fmt.Errorf("fault %s: share %v, want one of a drop, more than 0 and at most 1", f.Action, f.Share)
	}
	if f.Action == Stall && f.Event != "" && f.Event != wire.EventChanges && f.Event != wire.EventBroadcast {
		return fmt.Errorf("fault stall: event %.40q, want %s or %s", f.Event, wire.EventChanges, wire.EventBroadcast)
	}
	if f.Topic != "" && (f.Action == Stall || f.Action == Refuse) {
		return fmt.Errorf("fault %s: it concerns the whole server, not a topic", f.Action)
	}
	switch f.Action {
	case Delay:
		if f.Delay == 0 {
			return errors.New("fault delay: a delay is needed")
		}
	case Close:
		if f.Code == 0 {
			f.Code = websocket.CloseServiceRestart
		}
		if !validCloseCode(f.Code) {
			return fmt.Errorf("fault close: code %d can't be sent", f.Code)
		}
	case Refuse:
		if f.Status == 0 {
			f.Status = http.StatusInternalServerError
		}
		if f.Status < 400 || f.Status > 599 {
			return fmt.Errorf("fault refuse: status %d is no refusal", f.Status)
		}
		if f.Message == "" {
			f.Message = "Error connecting to Realtime"
		}
	case RefuseJoin:
		if f.Message == "" {
			f.Message = "RealtimeRestarting: Realtime is restarting, please standby"
		}
		if f.Code != 0 && !validCloseCode(f.Code) {
			return fmt.Errorf("fault refuse_join: code %d can't be sent", f.Code)
		}
	case System:
		if f.Extension == "" {
			f.Extension = "system"
		}
		if f.Result == "" {
			f.Result = "error"
		}
	case Send:
		if f.Event == "" {
			return errors.New("fault send: an event is needed")
		}
		if len(f.Payload) == 0 {
			f.Payload = emptyObject
		}
		if !json.Valid(f.Payload) {
			return errors.New("fault send: the payload isn't JSON")
		}
	}
	return nil
}

func validCloseCode(code int) bool {
	return code >= 1000 && code <= 4999 && code != websocket.CloseNoStatusReceived &&
		code != websocket.CloseAbnormalClosure && code != websocket.CloseTLSHandshake
}

func knownActions() []string {
	var names []string
	for _, set := range []map[Action]bool{lastingActions, momentActions} {
		for a := range set {
			names = append(names, string(a))
		}
	}
	sort.Strings(names)
	return names
}

// ParseFault reads a fault as a command line has it: the action, then key=value
// pairs named as in JSON, separated by commas. A value may be quoted with double
// quotes; payload, which is last, takes the rest as it is.
//
//	drop,event=heartbeat,direction=out,count=2
//	drop,event=postgres_changes,direction=out,share=0.3
//	stall,event=broadcast
//	close,code=1012
//	refuse,status=429,message="Too many connected users",for=30s
//	cut,every=1m
//	stall,after=10s,for=2m
//	send,event=presence_diff,payload={"joins":{},"leaves":{}}
func ParseFault(text string) (Fault, error) {
	action, rest, more := strings.Cut(text, ",")
	f := Fault{Action: Action(strings.TrimSpace(action))}
	for more {
		var key, value string
		var ok bool
		key, rest, ok = strings.Cut(rest, "=")
		key = strings.TrimSpace(key)
		if !ok {
			return f, fmt.Errorf("fault %.40s: %.40q is no key=value", f.Action, key)
		}
		if key == "payload" {
			value, more = rest, false
		} else {
			value, rest, more = cutValue(rest)
		}
		if err := f.set(key, value); err != nil {
			return f, err
		}
	}
	return f, f.check()
}

// cutValue takes one value off the front.
func cutValue(s string) (value, rest string, more bool) {
	if inner, ok := strings.CutPrefix(s, `"`); ok {
		if value, rest, ok = strings.Cut(inner, `"`); ok {
			rest, more = strings.CutPrefix(rest, ",")
			return value, rest, more
		}
	}
	value, rest, more = strings.Cut(s, ",")
	return strings.TrimSpace(value), rest, more
}

func (f *Fault) set(key, value string) (err error) {
	switch key {
	case "topic":
		f.Topic = value
	case "event":
		f.Event = value
	case "direction":
		f.Direction = value
	case "message":
		f.Message = value
	case "extension":
		f.Extension = value
	case "result":
		f.Result = value
	case "payload":
		f.Payload = json.RawMessage(value)
	case "count":
		f.Count, err = strconv.Atoi(value)
	case "share":
		f.Share, err = strconv.ParseFloat(value, 64)
	case "code":
		f.Code, err = strconv.Atoi(value)
	case "status":
		f.Status, err = strconv.Atoi(value)
	case "for":
		f.For, err = time.ParseDuration(value)
	case "after":
		f.After, err = time.ParseDuration(value)
	case "every":
		f.Every, err = time.ParseDuration(value)
	case "delay":
		f.Delay, err = time.ParseDuration(value)
	default:
		return fmt.Errorf("fault %.40s: unknown key %.40q", f.Action, key)
	}
	if err != nil {
		return fmt.Errorf("fault %.40s: %s: %w", f.Action, key, err)
	}
	return nil
}

// UnmarshalJSON reads durations as texts such as "5s". Unknown keys are errors.
func (f *Fault) UnmarshalJSON(b []byte) error {
	type plain Fault
	in := struct {
		*plain
		For   string `json:"for"`
		Delay string `json:"delay"`
		After string `json:"after"`
		Every string `json:"every"`
	}{plain: (*plain)(f)}
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	for key, text := range map[string]string{"for": in.For, "delay": in.Delay, "after": in.After, "every": in.Every} {
		if text != "" {
			if err := f.set(key, text); err != nil {
				return err
			}
		}
	}
	return f.check()
}

// MarshalJSON writes durations as UnmarshalJSON reads them.
func (f Fault) MarshalJSON() ([]byte, error) {
	type plain Fault
	out := struct {
		plain
		For   string `json:"for,omitempty"`
		Delay string `json:"delay,omitempty"`
		After string `json:"after,omitempty"`
		Every string `json:"every,omitempty"`
	}{plain: plain(f)}
	for text, d := range map[*string]time.Duration{&out.For: f.For, &out.Delay: f.Delay, &out.After: f.After,
		&out.Every: f.Every} {
		if d > 0 {
			*text = d.String()
		}
	}
	return json.Marshal(out)
}
