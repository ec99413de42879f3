package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// step is one disturbance of a schedule: at is when it begins, hold how long it lasts, size what
// else there is to it.
type step struct {
	at   time.Duration
	kind kind
	hold time.Duration
	who  int     // browser or edge
	size float64 // from 0 to 1: of the requests that fail, of the rows of a burst, and such
	text string  // how REST fails
}

type kind string

// The kinds of disturbance.
const (
	cutRealtime     kind = "cut Realtime"         // its connections end
	restartProject  kind = "restart Supabase"     // all connections end, and new ones are refused for a while
	holeRealtime    kind = "black-hole Realtime"  // not a byte passes, in connections to come either
	holeRest        kind = "black-hole REST"      //
	refuseRealtime  kind = "refuse Realtime"      // handshakes answered 503
	delaySubscribed kind = "delay Subscribed"     // joined and not subscribed
	stallFeed       kind = "stall the feed"       // changes are lost, heartbeats go on
	expireTokens    kind = "expire tokens"        // channels end as with a token that expired
	crashChannels   kind = "crash channels"       // phx_error
	closeLate       kind = "close channels late"  // changes are lost first, phx_close comes after
	resubscribe     kind = "resubscribe"          // the subscription is made anew
	throttle        kind = "refuse joins"         // as too many
	dropFrames      kind = "lose frames"          // single frames to the bridge are lost
	failRest        kind = "REST fails"           // 429, 500, 502 in HTML, or answers that come too late
	killBridge      kind = "kill -9 the bridge"   // and start it again
	stopBridge      kind = "SIGTERM the bridge"   // and start it again
	dropBrowser     kind = "drop a browser"       // its connection closes; it comes back by itself
	browserOffline  kind = "browser offline"      // it comes back within the recovery window
	browserAway     kind = "browser away longer"  // it comes back after the window
	cutEdge         kind = "cut a browsers' line" // of several browsers at once
	holeEdge        kind = "black-hole browsers"  //
	slowReader      kind = "stall a slow reader"  // one browser takes next to nothing while rows pour in
	burst           kind = "burst in one commit"  // many rows in one transaction
)

// often says how the kinds are mixed.
var often = []struct {
	kind     kind
	weight   int
	min, max time.Duration // of hold
}{
	{cutRealtime, 4, 0, 0},
	{restartProject, 2, 500 * time.Millisecond, 5 * time.Second},
	{holeRealtime, 2, 2 * time.Second, 9 * time.Second},
	{holeRest, 1, 2 * time.Second, 6 * time.Second},
	{refuseRealtime, 2, 2 * time.Second, 7 * time.Second},
	{delaySubscribed, 3, 500 * time.Millisecond, 3 * time.Second},
	{stallFeed, 4, 1 * time.Second, 8 * time.Second},
	{expireTokens, 2, 0, 0},
	{crashChannels, 2, 0, 0},
	{closeLate, 2, 500 * time.Millisecond, 3 * time.Second},
	{resubscribe, 2, 0, 0},
	{throttle, 1, 1 * time.Second, 5 * time.Second},
	{dropFrames, 2, 500 * time.Millisecond, 3 * time.Second},
	{failRest, 5, 1 * time.Second, 6 * time.Second},
	{killBridge, 2, 100 * time.Millisecond, 3 * time.Second},
	{stopBridge, 1, 100 * time.Millisecond, 2 * time.Second},
	{dropBrowser, 10, 0, 0},
	{browserOffline, 6, 500 * time.Millisecond, 5 * time.Second},
	{browserAway, 6, recoveryWindow + 2*time.Second, recoveryWindow + 8*time.Second},
	{cutEdge, 3, 0, 0},
	{holeEdge, 3, 1 * time.Second, 9 * time.Second},
	{slowReader, 2, 4 * time.Second, 9 * time.Second},
	{burst, 3, 0, 0},
}

// shortest and longest are the bounds of the time between the beginnings of two steps.
const (
	shortest = 100 * time.Millisecond
	longest  = 1400 * time.Millisecond
)

// plan draws the schedule of a seed. The same seed and duration give the same one.
func plan(seed uint64, duration time.Duration) []step {
	random := rand.New(rand.NewPCG(seed, 1))
	var steps []step
	var deck []int // indexes of often, each as many times as it weighs, so that nothing is left to chance but the order
	for at := time.Second; at < duration; at += shortest + time.Duration(random.Int64N(int64(longest-shortest))) {
		if len(deck) == 0 {
			for i, o := range often {
				deck = append(deck, slices.Repeat([]int{i}, o.weight)...)
			}
			random.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
		}
		o := often[deck[0]]
		deck = deck[1:]
		s := step{at: at, kind: o.kind, hold: o.min, size: random.Float64()}
		if o.max > o.min {
			s.hold += time.Duration(random.Int64N(int64(o.max - o.min)))
		}
		s.who = random.IntN(1 << 20)
		s.text = []string{"429", "500", "502", "slow"}[random.IntN(4)]
		steps = append(steps, s)
	}
	return steps
}

func (s step) String() string {
	text := fmt.Sprintf("%6.2fs %s", s.at.Seconds(), s.kind)
	if s.kind == failRest {
		text += " (" + s.text + ")"
	}
	if s.hold > 0 {
		text += fmt.Sprintf(" for %.2fs", s.hold.Seconds())
	}
	return text
}

// summary counts the steps of each kind.
func summary(steps []step) string {
	counts := make(map[kind]int)
	for _, s := range steps {
		counts[s.kind]++
	}
	var parts []string
	for k, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, k))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}
