package twilio

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
)

// Headers of Twilio's requests.
const (
	SignatureHeader   = "X-Twilio-Signature"
	IdempotencyHeader = "I-Twilio-Idempotency-Token"
)

var (
	// ErrNoSignature means that the request has no signature at all.
	ErrNoSignature = errors.New("twilio: no signature")
	// ErrSignature means that no token signed this request at any address it may have been sent to.
	ErrSignature = errors.New("twilio: the signature fits none of the addresses and tokens")
	// ErrBodyHash means that the address is signed, and the body is not the one whose hash it names.
	ErrBodyHash = errors.New("twilio: the body is not the one that was signed")
)

// Options of a Validator.
type Options struct {
	// Tokens are the auth tokens that may have signed: one, two while it is rotated, and those of
	// sub-accounts. At least one.
	Tokens []string
	// PublicURLs are the addresses Twilio reaches this server by: scheme and host, with a path where a
	// proxy takes one off, or the whole address of the webhook. Empty: the scheme and host of each
	// request.
	PublicURLs []string
	// TrustedProxies are those whose X-Forwarded-Proto and X-Forwarded-Host are believed.
	TrustedProxies []netip.Prefix
}

// Validator tells Twilio's requests from others. It is never changed and safe for concurrent use.
type Validator struct {
	tokens  [][]byte
	public  []address
	trusted []netip.Prefix
}

// NewValidator makes a validator. It fails without a token, and for a public URL that is not an
// absolute http or https one.
func NewValidator(opts Options) (*Validator, error) {
	v := &Validator{trusted: opts.TrustedProxies}
	for _, token := range opts.Tokens {
		if token == "" {
			return nil, errors.New("twilio: an auth token is empty")
		}
		v.tokens = append(v.tokens, []byte(token))
	}
	if len(v.tokens) == 0 {
		return nil, errors.New("twilio: no auth token")
	}
	for i, raw := range opts.PublicURLs {
		a, ok := splitAddress(raw)
		if !ok {
			return nil, fmt.Errorf("twilio: public URL %d: expected http(s)://host", i+1)
		}
		v.public = append(v.public, a)
	}
	return v, nil
}

// Validate checks the signature of a request whose body has been read. It returns nil,
// ErrNoSignature, ErrSignature, ErrBodyHash, or an error of ParseForm. A body that is no form must
// be named by its hash in the query, as Twilio does; else nothing says that it is Twilio's.
func (v *Validator) Validate(r *http.Request, body []byte) error {
	_, err := v.Signer(r, body)
	return err
}

// Signer is Validate, and gives the token that signed as well.
func (v *Validator) Signer(r *http.Request, body []byte) (token string, err error) {
	signature := []byte(r.Header.Get(SignatureHeader))
	if len(signature) == 0 {
		return "", ErrNoSignature
	}
	var params Params
	var hash string
	if IsForm(r.Header) {
		if params, err = ParseForm(body); err != nil {
			return "", err
		}
	} else if len(body) > 0 {
		if hash = bodyHash(r.RequestURI); hash == "" {
			return "", ErrBodyHash
		}
	}
	tails := params.tails()
	for candidate := range v.addresses(r) {
		for _, t := range v.tokens {
			for _, tail := range tails {
				if hmac.Equal(sign(t, candidate, tail), signature) {
					token = string(t)
				}
			}
		}
		if token != "" {
			break
		}
	}
	if token == "" {
		return "", ErrSignature
	}
	if hash != "" {
		want, err := hex.DecodeString(hash)
		if got := sha256.Sum256(body); err != nil || !hmac.Equal(want, got[:]) {
			return "", ErrBodyHash
		}
	}
	return token, nil
}

// Sign gives the signature of a request to url with the parameters of a form, nil for none.
func Sign(token, url string, params Params) string {
	return string(sign([]byte(token), url, params.tails()[0]))
}

func sign(token []byte, url, tail string) []byte {
	mac := hmac.New(sha1.New, token)
	mac.Write([]byte(url))
	mac.Write([]byte(tail))
	return base64.StdEncoding.AppendEncode(nil, mac.Sum(nil))
}

// tails gives what is signed after the URL: each name followed by its value, sorted by name; of a
// name that comes several times, its values sorted and each once. Sorting is by bytes or by UTF-16
// units, as the SDKs differ there; usually both give the same.
func (p Params) tails() []string {
	byName := make(map[string][]string, len(p))
	names := make([]string, 0, len(p))
	for _, param := range p {
		if byName[param.Name] == nil {
			names = append(names, param.Name)
		}
		byName[param.Name] = append(byName[param.Name], param.Value)
	}
	join := func(compare func(a, b string) int) string {
		var b strings.Builder
		slices.SortFunc(names, compare)
		for _, name := range names {
			values := slices.Clone(byName[name])
			slices.SortFunc(values, compare)
			for _, value := range slices.Compact(values) {
				b.WriteString(name)
				b.WriteString(value)
			}
		}
		return b.String()
	}
	tails := []string{join(strings.Compare)}
	if units := join(compareUnits); units != tails[0] {
		tails = append(tails, units)
	}
	return tails
}

// compareUnits orders texts by their UTF-16 code units, as JavaScript and Java do.
func compareUnits(a, b string) int {
	return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
}

// IsForm tells whether a request's body is a form.
func IsForm(h http.Header) bool {
	kind, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	return err == nil && kind == "application/x-www-form-urlencoded"
}

// bodyHash finds the hash of the body in a request target.
func bodyHash(target string) string {
	_, query, _ := strings.Cut(target, "?")
	for part := range strings.SplitSeq(query, "&") {
		if hash, ok := strings.CutPrefix(part, "bodySHA256="); ok {
			return hash
		}
	}
	return ""
}

// address is a URL cut into pieces without changing a byte of them.
type address struct {
	scheme   string // https
	user     string // user:password@, mostly empty
	host     string // without the port; an IPv6 literal with its brackets
	port     string // :8443, or empty
	path     string
	fragment string // #rc=2, or empty
}

// splitAddress cuts an absolute URL without a query.
func splitAddress(raw string) (address, bool) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" {
		return address{}, false
	}
	var a address
	var rest string
	a.scheme, rest, _ = strings.Cut(raw, "://")
	a.scheme = strings.ToLower(a.scheme)
	if at := strings.IndexByte(rest, '#'); at >= 0 {
		rest, a.fragment = rest[:at], rest[at:]
	}
	if at := strings.IndexByte(rest, '/'); at >= 0 {
		rest, a.path = rest[:at], strings.TrimRight(rest[at:], "/")
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		a.user, rest = rest[:at+1], rest[at+1:]
	}
	a.host, a.port = splitPort(rest)
	return a, true
}

// splitPort parts a host from its port, which keeps its colon.
func splitPort(host string) (name, port string) {
	if at := strings.LastIndexByte(host, ':'); at > strings.LastIndexByte(host, ']') {
		return host[:at], host[at:]
	}
	return host, ""
}

// addresses yields what Twilio may have signed of a request: the raw target behind each public
// address, as given, without port and with the scheme's own; with and without user and fragment.
func (v *Validator) addresses(r *http.Request) func(yield func(string) bool) {
	target := r.RequestURI
	if !strings.HasPrefix(target, "/") { // a proxy's absolute form
		if _, rest, ok := strings.Cut(target, "://"); ok {
			if at := strings.IndexByte(rest, '/'); at >= 0 {
				target = rest[at:]
			}
		}
	}
	path, _, _ := strings.Cut(target, "?")
	public := v.public
	if len(public) == 0 {
		public = []address{v.reached(r)}
	}
	return func(yield func(string) bool) {
		seen := make(map[string]bool)
		for _, a := range public {
			prefixes := []string{a.path}
			if prefix, whole := strings.CutSuffix(a.path, path); whole && a.path != "" {
				prefixes = append(prefixes, prefix)
			}
			ports := []string{a.port, "", ":443"}
			if a.scheme == "http" {
				ports[2] = ":80"
			}
			for _, prefix := range prefixes {
				for _, port := range ports {
					for _, user := range []string{a.user, ""} {
						for _, fragment := range []string{"", a.fragment} {
							candidate := a.scheme + "://" + user + a.host + port + prefix + target + fragment
							if seen[candidate] {
								continue
							}
							seen[candidate] = true
							if !yield(candidate) {
								return
							}
						}
					}
				}
			}
		}
	}
}

// reached is the address that a request itself says it was sent to; where a trusted proxy passed it
// on, that says so.
func (v *Validator) reached(r *http.Request) address {
	a := address{scheme: "http"}
	if r.TLS != nil {
		a.scheme = "https"
	}
	host := r.Host
	if v.trusts(r.RemoteAddr) {
		if proto := firstOf(r.Header.Get("X-Forwarded-Proto")); proto == "http" || proto == "https" {
			a.scheme = proto
		}
		if forwarded := firstOf(r.Header.Get("X-Forwarded-Host")); forwarded != "" {
			host = forwarded
		}
	}
	a.host, a.port = splitPort(host)
	return a
}

func (v *Validator) trusts(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && slices.ContainsFunc(v.trusted, func(p netip.Prefix) bool { return p.Contains(ip.Unmap()) })
}

// firstOf gives the first member of a list in a header: what the proxy nearest to the client wrote.
func firstOf(header string) string {
	value, _, _ := strings.Cut(header, ",")
	return strings.ToLower(strings.TrimSpace(value))
}
