package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/supabridge/supabridge/bridge/twilio"
	"github.com/supabridge/supabridge/testdata/bench/bed"
)

const (
	authToken  = "0123456789abcdef0123456789abcdef"
	hooksPath  = "/webhooks/twilio"
	publicBase = "https://hooks.example.com"
)

// poster posts webhooks as Twilio does.
type poster struct {
	address string // where they are posted
	signed  string // the address they are signed for
	client  *http.Client
	answers bed.Latencies

	mu     sync.Mutex // guards what follows
	wrong  map[string]int
	answer map[string]bool // MessageSid and status of what was answered 200
}

func newPoster(address, signed string, timeout time.Duration) *poster {
	transport := &http.Transport{MaxIdleConns: 4096, MaxIdleConnsPerHost: 4096, IdleConnTimeout: time.Minute}
	return &poster{
		address: address,
		signed:  signed,
		client:  &http.Client{Transport: transport, Timeout: timeout},
		wrong:   make(map[string]int),
		answer:  make(map[string]bool),
	}
}

// webhook is one to post. name tells it apart.
type webhook struct {
	name   string
	values url.Values
}

// flood posts what next gives at a rate for a while, and waits for all answers.
func (p *poster) flood(ctx context.Context, rate int, duration time.Duration, next func(n int) webhook) (posted int) {
	var wg sync.WaitGroup
	defer p.client.CloseIdleConnections()
	began := time.Now()
	total := int(duration.Seconds() * float64(rate))
	for ; posted < total && ctx.Err() == nil; posted++ {
		due := began.Add(time.Duration(posted) * time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
		w := next(posted)
		wg.Go(func() { p.post(ctx, w, due) })
	}
	wg.Wait()
	return posted
}

// post sends one and notes what came of it.
func (p *poster) post(ctx context.Context, w webhook, due time.Time) {
	err := p.send(ctx, w)
	p.answers.Add(time.Since(due))
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.wrong[err.Error()]++
		return
	}
	p.answer[w.name] = true
}

func (p *poster) send(ctx context.Context, w webhook) error {
	form := w.values.Encode()
	params, err := twilio.ParseForm([]byte(form))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.address, strings.NewReader(form))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set(twilio.SignatureHeader, twilio.Sign(authToken, p.signed, params))
	req.Header.Set(twilio.IdempotencyHeader, w.name)
	resp, err := p.client.Do(req)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return nil
}

func phone(n int) string { return fmt.Sprintf("+1555%07d", n) }

// message is one from a customer, as long as they are.
func message(sid string, customer int) webhook {
	return webhook{sid, url.Values{
		"MessageSid": {
			sid,
		}, "SmsMessageSid": {sid}, "SmsSid": {sid}, "AccountSid": {"AC00000000000000000000000000000000"}, "SmsStatus": {"received"},
		"From": {
			"whatsapp:" + phone(customer),
		}, "To": {"whatsapp:+15550100"}, "WaId": {phone(customer)[1:]}, "ProfileName": {"Customer"}, "NumMedia": {"0"},
		"NumSegments": {"1"}, "MessageType": {"text"}, "ApiVersion": {"2010-04-01"},
		"Body": {
			"Hello, is the order of last week on its way? I have not heard of it since Tuesday, and the shop opens at eight.",
		},
	}}
}

// delivered is the status of a message that the application sent.
func delivered(sid string, customer int) webhook {
	return webhook{sid + " delivered", url.Values{
		"MessageSid": {
			sid,
		}, "SmsSid": {sid}, "AccountSid": {"AC00000000000000000000000000000000"}, "MessageStatus": {"delivered"}, "SmsStatus": {"delivered"},
		"From": {
			"whatsapp:+15550100",
		}, "To": {"whatsapp:" + phone(customer)}, "EventType": {"DELIVERED"}, "ApiVersion": {"2010-04-01"},
	}}
}
