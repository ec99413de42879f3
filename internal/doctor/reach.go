package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// client asks the project.
type client struct {
	http    *http.Client
	timeout time.Duration
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 1 << 20

func newClient(timeout time.Duration) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	return &client{
		timeout: timeout,
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// answer is an HTTP answer with its body.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request with headers given as names and values in turn. A redirect is an answer.
func (c *client) ask(ctx context.Context, method, address, body string, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if strings.HasPrefix(req.Header.Get("Authorization"), "Bearer sb_") {
		req.Header.Del("Authorization") // such a key is no JWT, and belongs into apikey alone
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, unwrapURL(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return answer{resp.StatusCode, resp.Header, got}, err
}

// unwrapURL takes the address off an error: it may hold a key, and stands beside it anyway.
func unwrapURL(err error) error {
	var of *url.Error
	if errors.As(err, &of) {
		return of.Err
	}
	return err
}

// reach finds out whether the project can be reached at all.
func (p *patient) reach(ctx context.Context) bool {
	base, err := url.Parse(p.cfg.Supabase.URL)
	if err != nil {
		return false // a valid configuration has none such
	}
	hosts := []string{base.Hostname()}
	if realtime, err := url.Parse(p.cfg.Supabase.RealtimeURL); err == nil && realtime.Hostname() != base.Hostname() {
		hosts = append(hosts, realtime.Hostname())
	}
	for _, host := range hosts {
		if !p.resolve(ctx, host) {
			return false
		}
	}
	got, err := p.http.ask(
		ctx,
		http.MethodGet,
		p.cfg.Supabase.URL+"/rest/v1/",
		"",
		"apikey",
		p.cfg.Supabase.ServiceRoleKey.Reveal(),
	)
	if base.Scheme == "https" && isTLS(err) {
		p.add(Finding{Check: "tls", About: base.Host, Level: Fail, Text: err.Error(), Fix: tlsFix(err, base)})
		return false
	}
	if err != nil {
		p.add(
			Finding{
				Check: "reach",
				About: base.Host,
				Level: Fail,
				Text:  err.Error(),
				Fix:   "supabase:\n  url: # an address this machine can connect to; behind a proxy set HTTPS_PROXY",
			},
		)
		return false
	}
	if base.Scheme == "https" {
		p.tlsEnd(ctx, base)
	}
	switch got.status {
	case 540, http.StatusServiceUnavailable:
		p.add(
			Finding{
				Check: "reach",
				About: base.Host,
				Level: Fail,
				Text:  fmt.Sprintf("it answers %d: the project is paused or starting", got.status),
				Fix:   "# resume the project in the dashboard, then run doctor again",
			},
		)
		return false
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		p.add(
			Finding{
				Check: "reach",
				About: base.Host,
				Level: Fail,
				Text:  fmt.Sprintf("it answers %d: the gateway reaches no REST API", got.status),
			},
		)
		return false
	}
	p.good("reach", base.Host, "it answers")
	p.clock(got)
	return true
}

func (p *patient) resolve(ctx context.Context, host string) bool {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		p.add(Finding{Check: "dns", About: host, Level: Fail, Text: "it has no address: " + err.Error(),
			Fix: "supabase:\n  url: https://<project ref>.supabase.co # as the dashboard has it; a project that was deleted has none"})
		return false
	}
	p.good("dns", host, "%s", strings.Join(addresses, ", "))
	return true
}

// isTLS tells whether a connection failed for its certificate or for speaking no TLS.
func isTLS(err error) bool {
	var verification *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &verification) || errors.As(err, &record) ||
		err != nil && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

func tlsFix(err error, base *url.URL) string {
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &unknown):
		return "SSL_CERT_FILE=/path/to/your-authority.pem # where the certificate is signed by an authority of your own"
	case strings.Contains(err.Error(), "HTTP response"):
		return "supabase:\n  url: http://" + base.Host
	default:
		return "supabase:\n  url: # the name that the certificate is for"
	}
}

// soon is how long before its end a certificate is worth a word.
const soon = 14 * 24 * time.Hour

func (p *patient) tlsEnd(ctx context.Context, base *url.URL) {
	ctx, cancel := context.WithTimeout(ctx, p.opts.Timeout)
	defer cancel()
	port := base.Port()
	if port == "" {
		port = "443"
	}
	conn, err := (&tls.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(base.Hostname(), port))
	if err != nil {
		return // a proxy stands between: what matters answered
	}
	defer conn.Close()
	end := conn.(*tls.Conn).ConnectionState().PeerCertificates[0].NotAfter
	if time.Until(end) < soon {
		p.add(
			Finding{
				Check: "tls",
				About: base.Host,
				Level: Warn,
				Text:  "the certificate ends " + end.UTC().Format(time.DateOnly),
				Fix:   "# renew the certificate of " + base.Host,
			},
		)
		return
	}
	p.good("tls", base.Host, "the certificate is good until %s", end.UTC().Format(time.DateOnly))
}

// clock compares this machine's clock with the project's, which an answer's Date gives to the
// second.
func (p *patient) clock(got answer) {
	theirs, err := http.ParseTime(got.header.Get("Date"))
	if err != nil {
		p.add(
			Finding{
				Check: "clock",
				Level: Unknown,
				Text:  "the project does not say what time it is",
				Look:  "date -u; # and compare",
			},
		)
		return
	}
	skew := time.Since(theirs) - time.Second/2
	away := skew.Abs().Round(time.Second)
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	const fix = "timedatectl set-ntp true"
	switch {
	case away > p.cfg.Auth.Leeway:
		p.add(Finding{Check: "clock", Level: Fail, Fix: fix,
			Text: fmt.Sprintf(
				"this machine is %s %s the project, more than auth.leeway (%s): good tokens are refused, or expired ones taken",
				away,
				direction,
				p.cfg.Auth.Leeway,
			)})
	case away > 2*time.Second:
		p.add(
			Finding{
				Check: "clock",
				Level: Warn,
				Text:  fmt.Sprintf("this machine is %s %s the project", away, direction),
				Fix:   fix,
			},
		)
	default:
		p.good("clock", "", "within 2s of the project's")
	}
}
