package twilio

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/twilio/twilio-go/client"
)

const token = "12345678901234567890123456789012"

// request is a POST as the server sees it.
func request(target, host, body, signature string) *http.Request {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.RequestURI, r.Host, r.TLS = target, host, &tls.ConnectionState{}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8")
	if signature != "" {
		r.Header.Set(SignatureHeader, signature)
	}
	return r
}

func validator(t *testing.T, opts Options) *Validator {
	t.Helper()
	if opts.Tokens == nil {
		opts.Tokens = []string{token}
	}
	v, err := NewValidator(opts)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func form(t *testing.T, body string) Params {
	t.Helper()
	p, err := ParseForm([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestSignedRequestIsAcceptedHoweverItWasAddressed(t *testing.T) {
	const body = "From=whatsapp%3A%2B1&FromCountry=US&Body=+hi%F0%9F%8E%89+&B=2&A=1&B=1&B=2"
	for name, c := range map[string]struct {
		signed, target, host string
		public               []string
	}{
		"as it came":                       {"https://h.example/twilio", "/twilio", "h.example", nil},
		"port signed and not seen":         {"https://h.example:443/twilio", "/twilio", "h.example", nil},
		"port seen and not signed":         {"https://h.example/twilio", "/twilio", "h.example:8443", nil},
		"port of its own":                  {"https://h.example:8443/twilio", "/twilio", "h.example:8443", nil},
		"IPv6 with a port, signed without": {"https://[2001:db8::1]/t", "/t", "[2001:db8::1]:8443", nil},
		"a query in any order and escape":  {"https://h.example/t?b=%27'@:&a=+%20", "/t?b=%27'@:&a=+%20", "h.example", nil},
		"an escaped slash":                 {"https://h.example/a%2Fb", "/a%2Fb", "h.example", nil},
		"public address":                   {"https://pub.example/t?x=1", "/t?x=1", "10.0.0.7:3001", []string{"https://pub.example"}},
		"public address with a prefix":     {"https://pub.example/in/t", "/t", "10.0.0.7:3001", []string{"https://pub.example/in/"}},
		"whole public address":             {"https://pub.example/in/t?q=1", "/t?q=1", "10.0.0.7", []string{"https://other.example", "https://pub.example/in/t"}},
		"whole public address, no prefix":  {"https://pub.example/t?q=1", "/t?q=1", "10.0.0.7", []string{"https://pub.example/t"}},
		"fragment not signed":              {"https://pub.example/t", "/t", "x", []string{"https://pub.example#rc=2&rp=all"}},
		"fragment signed":                  {"https://pub.example/t#rc=2&rp=all", "/t", "x", []string{"https://pub.example/t#rc=2&rp=all"}},
		"user signed":                      {"https://u:p@pub.example/t", "/t", "x", []string{"https://u:p@pub.example"}},
		"user not signed":                  {"https://pub.example/t", "/t", "x", []string{"https://u:p@pub.example"}},
	} {
		t.Run(name, func(t *testing.T) {
			v := validator(t, Options{PublicURLs: c.public})
			r := request(c.target, c.host, body, Sign(token, c.signed, form(t, body)))
			if err := v.Validate(r, []byte(body)); err != nil {
				t.Errorf("signed for %s: %v", c.signed, err)
			}
			for _, changed := range []string{body + "&x=1", strings.Replace(body, "hi", "ho", 1), strings.TrimSuffix(body, "+")[1:], ""} {
				if err := v.Validate(r, []byte(changed)); !errors.Is(err, ErrSignature) {
					t.Errorf("body %q under the signature of another: %v", changed, err)
				}
			}
		})
	}
}

func TestForgedRequestsAreRefused(t *testing.T) {
	const body = "MessageSid=SM1&Body=x"
	signature := Sign(token, "https://h.example/t", form(t, body))
	v := validator(t, Options{PublicURLs: []string{"https://h.example"}})
	for name, c := range map[string]struct {
		r    *http.Request
		want error
	}{
		"no signature":    {request("/t", "h.example", body, ""), ErrNoSignature},
		"another path":    {request("/u", "h.example", body, signature), ErrSignature},
		"another query":   {request("/t?a", "h.example", body, signature), ErrSignature},
		"another token":   {request("/t", "h.example", body, Sign("x", "https://h.example/t", form(t, body))), ErrSignature},
		"half of it":      {request("/t", "h.example", body, signature[:14]), ErrSignature},
		"not base64":      {request("/t", "h.example", body, "???"), ErrSignature},
		"host of its own": {request("/t", "evil.example", body, Sign(token, "https://evil.example/t", form(t, body))), ErrSignature},
	} {
		if err := v.Validate(c.r, []byte(body)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestEitherTokenSignsWhileItIsRotated(t *testing.T) {
	v := validator(t, Options{Tokens: []string{"old", "new"}})
	for signer, want := range map[string]error{"old": nil, "new": nil, "older": ErrSignature} {
		r := request("/t", "h.example", "A=1", Sign(signer, "https://h.example/t", form(t, "A=1")))
		if err := v.Validate(r, []byte("A=1")); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", signer, err, want)
		}
	}
}

func TestForwardedAddressIsBelievedOfTrustedProxiesOnly(t *testing.T) {
	v := validator(t, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	r := request("/t", "inner:3001", "A=1", Sign(token, "https://h.example/t", form(t, "A=1")))
	r.TLS = nil
	r.Header.Set("X-Forwarded-Proto", "https, http")
	r.Header.Set("X-Forwarded-Host", "h.example, inner")
	for remote, want := range map[string]error{"10.1.2.3:99": nil, "[::ffff:10.1.2.3]:99": nil, "192.0.2.1:99": ErrSignature, "?": ErrSignature} {
		r.RemoteAddr = remote
		if err := v.Validate(r, []byte("A=1")); !errors.Is(err, want) {
			t.Errorf("from %s: %v, want %v", remote, err, want)
		}
	}
}

func TestJSONBodyIsHeldAgainstItsHash(t *testing.T) {
	body := `{"a":1}`
	sum := sha256.Sum256([]byte(body))
	hash := hex.EncodeToString(sum[:])
	v := validator(t, Options{})
	for name, c := range map[string]struct {
		target, body string
		want         error
	}{
		"its own":          {"/t?x=1&bodySHA256=" + hash, body, nil},
		"in capitals":      {"/t?bodySHA256=" + strings.ToUpper(hash), body, nil},
		"another":          {"/t?bodySHA256=" + hash, `{"a":2}`, ErrBodyHash},
		"no hash":          {"/t?x=1", body, ErrBodyHash},
		"hash that is not": {"/t?bodySHA256=zz", body, ErrBodyHash},
	} {
		r := request(c.target, "h.example", c.body, Sign(token, "https://h.example"+c.target, nil))
		r.Header.Set("Content-Type", "application/json")
		if err := v.Validate(r, []byte(c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// letters are for names and values: ASCII of either case, separators of forms and URLs, letters of
// several bytes, and some beyond the basic plane.
var letters = []rune("aAbBzZ09_-.~ +&=;%#?/@:'\"<>\\\né漢\uffee🎉𐐷")

func word(rng *rand.Rand, most int) string {
	text := make([]rune, rng.IntN(most+1))
	for i := range text {
		text[i] = letters[rng.IntN(len(letters))]
	}
	return string(text)
}

// TestOracleAgreesOnGeneratedRequests compares with twilio-go where that one is right: single
// values (it takes the first of several), names without characters beyond the basic plane beside
// others above the surrogates, no fragment.
func TestOracleAgreesOnGeneratedRequests(t *testing.T) {
	oracle := client.NewRequestValidator(token)
	rng := rand.New(rand.NewPCG(7, 11))
	for range 5000 {
		values := url.Values{}
		for range rng.IntN(12) {
			values[word(rng, 8)] = []string{word(rng, 20)}
		}
		target := "/hook/" + url.PathEscape(word(rng, 5)) + "?" + url.QueryEscape(word(rng, 5)) + "=" + url.QueryEscape(word(rng, 5))
		host := fmt.Sprintf("h%d.example", rng.IntN(10))
		if rng.IntN(2) == 0 {
			host += fmt.Sprintf(":%d", 1000+rng.IntN(9000))
		}
		body := values.Encode()
		params := form(t, body)
		signature := Sign(token, "https://"+host+target, params)
		single := make(map[string]string)
		for _, p := range params {
			single[p.Name] = p.Value
		}
		if !oracle.Validate("https://"+host+target, single, signature) {
			t.Fatalf("the oracle refuses our signature of https://%s%s with %q", host, target, single)
		}
		v := validator(t, Options{})
		if err := v.Validate(request(target, host, body, signature), []byte(body)); err != nil {
			t.Fatalf("https://%s%s with %q: %v", host, target, single, err)
		}
		single[word(rng, 4)+"x"] = "changed"
		if oracle.Validate("https://"+host+target, single, signature) {
			t.Fatalf("the oracle accepts a changed form: the comparison shows nothing")
		}
	}
}

func TestValuesOfOneNameAreSortedAndTakenOnce(t *testing.T) {
	got := form(t, "b=2&a=1&b=1&b=2&ab=0").tails()[0]
	if want := "a1" + "ab0" + "b1" + "b2"; got != want {
		t.Errorf("signed %q, want %q", got, want)
	}
}

func TestValidatorNeedsATokenAndWholeAddresses(t *testing.T) {
	for _, opts := range []Options{{}, {Tokens: []string{""}}, {Tokens: []string{"t"}, PublicURLs: []string{"hooks.example.com"}}, {Tokens: []string{"t"}, PublicURLs: []string{"https://"}}} {
		if _, err := NewValidator(opts); err == nil {
			t.Errorf("%+v is accepted", opts)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	const body = "MessageSid=SM1&From=whatsapp%3A%2B1&To=whatsapp%3A%2B2&Body=hello&NumMedia=0"
	p, err := ParseForm([]byte(body))
	if err != nil {
		b.Fatal(err)
	}
	v, err := NewValidator(Options{Tokens: []string{token}})
	if err != nil {
		b.Fatal(err)
	}
	r := request("/t", "h.example", body, Sign(token, "https://h.example/t", p))
	for b.Loop() {
		if err := v.Validate(r, []byte(body)); err != nil {
			b.Fatal(err)
		}
	}
}
