package main

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// slowPace is what the slow reader takes: less than what is written for it.
var slowPace = pace{size: 512, wait: 100 * time.Millisecond}

// lines is how many lines to the internet the browsers share.
const lines = 6

// disturbance is what a schedule works on.
type disturbance struct {
	project  *project
	program  *program
	browsers *browsers
	edges    []*gate // one for each browser; the first is the slow reader's
	writer   *writer

	mu    sync.Mutex
	first error // of what failed in the test itself
}

// perform carries a schedule out and returns when it is over, or ctx. All it disturbed is healed
// then.
func (d *disturbance) perform(ctx context.Context, steps []step) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began := time.Now()
	var running sync.WaitGroup
	for _, s := range steps {
		if pause(ctx, time.Until(began.Add(s.at))) != nil {
			break
		}
		running.Go(func() {
			if err := d.do(ctx, s); err != nil {
				d.mu.Lock()
				defer d.mu.Unlock()
				if d.first == nil {
					d.first = err
				}
				cancel()
			}
		})
	}
	running.Wait()
	d.project.heal()
	for _, e := range d.edges {
		e.heal()
	}
	if err := d.program.start(); err != nil {
		return err
	}
	return d.first
}

// do carries one step out. The pauses within it end early with ctx; what it began it ends in any
// case.
func (d *disturbance) do(ctx context.Context, s step) error {
	hold := func() { _ = pause(ctx, s.hold) } // the rest of the step makes up for what it began
	inject := func(f phxserver.Fault) error {
		_, err := d.project.server.Realtime().Inject(f)
		return err
	}
	one := d.edges[s.who%len(d.edges)]
	var some []*gate
	for i := s.who % lines; i < len(d.edges); i += lines {
		some = append(some, d.edges[i])
	}
	switch s.kind {
	case cutRealtime:
		d.project.realtime.cut()
	case restartProject:
		for _, g := range []*gate{d.project.realtime, d.project.rest} {
			g.refuse(true)
			g.cut()
			defer g.refuse(false)
		}
		hold()
	case holeRealtime:
		d.project.realtime.freeze()
		hold()
		d.project.realtime.thaw()
	case holeRest:
		d.project.rest.freeze()
		hold()
		d.project.rest.thaw()
	case refuseRealtime:
		if err := inject(phxserver.Fault{Action: phxserver.Refuse, Status: 503, For: s.hold}); err != nil {
			return err
		}
		d.project.realtime.cut()
	case delaySubscribed:
		if err := inject(phxserver.Fault{Action: phxserver.Delay, Event: "system", Direction: "out", Delay: s.hold, Count: 2, For: 3 * s.hold}); err != nil {
			return err
		}
		d.project.realtime.cut()
	case stallFeed:
		return inject(phxserver.Fault{Action: phxserver.Stall, For: s.hold})
	case expireTokens:
		return inject(phxserver.Fault{Action: phxserver.Expire})
	case crashChannels:
		return inject(phxserver.Fault{Action: phxserver.Crash})
	case closeLate:
		if err := inject(phxserver.Fault{Action: phxserver.Stall, For: s.hold}); err != nil {
			return err
		}
		hold()
		return inject(phxserver.Fault{Action: phxserver.Leave})
	case resubscribe:
		return inject(phxserver.Fault{Action: phxserver.Resubscribe})
	case throttle:
		if err := inject(phxserver.Fault{Action: phxserver.RefuseJoin, Message: "ClientJoinRateLimitReached: Too many joins per second", For: s.hold}); err != nil {
			return err
		}
		d.project.realtime.cut()
	case dropFrames:
		return inject(phxserver.Fault{Action: phxserver.Drop, Direction: "out", Count: 1 + int(5*s.size), For: s.hold})
	case failRest:
		d.project.trouble.Store(&restTrouble{Kind: s.text, Share: 0.3 + 0.7*s.size})
		hold()
		d.project.trouble.Store(nil)
	case killBridge:
		d.program.end(syscall.SIGKILL)
		hold()
		return d.program.start()
	case stopBridge:
		d.program.end(syscall.SIGTERM)
		hold()
		return d.program.start()
	case dropBrowser:
		return d.browsers.ask(question{Do: "drop", Who: s.who % len(d.edges)}, nil)
	case browserOffline, browserAway:
		one.refuse(true)
		one.cut()
		hold()
		one.refuse(false)
	case cutEdge:
		for _, e := range some {
			e.cut()
		}
	case holeEdge:
		for _, e := range some {
			e.freeze()
		}
		hold()
		for _, e := range some {
			if s.size < 0.5 {
				e.cut()
			}
			e.thaw()
		}
	case slowReader:
		d.edges[0].slow(slowPace)
		hold()
		d.edges[0].slow(pace{})
	case burst:
		return d.writer.burst(s.size)
	}
	return nil
}
