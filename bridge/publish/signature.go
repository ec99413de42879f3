package publish

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader carries the signature of a body, in both directions.
const SignatureHeader = "X-Bridge-Signature"

var (
	// ErrNoCredential means that there is neither a bearer token nor a signature.
	ErrNoCredential = errors.New("no credential: send the secret as a bearer token, or sign the body")
	// ErrCredential means that the token or the signature is wrong.
	ErrCredential = errors.New("the credential is wrong")
	// ErrExpired means that the signature is right, and its time too far from the clock.
	ErrExpired = errors.New("the signature's time is too far from now")
)

// Sign gives the value of SignatureHeader for a body sent at a time.
func Sign(secret []byte, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac(secret, t, body))
}

func mac(secret []byte, t string, body []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(t))
	h.Write([]byte{'.'})
	h.Write(body)
	return h.Sum(nil)
}

// Authenticate checks that a request shows the secret or is signed with it, at most window from
// now. It gives ErrNoCredential, ErrCredential or ErrExpired.
func Authenticate(header http.Header, body, secret []byte, window time.Duration, now time.Time) error {
	if token, ok := strings.CutPrefix(header.Get("Authorization"), "Bearer "); ok {
		want, got := sha256.Sum256(
			secret,
		), sha256.Sum256(
			[]byte(token),
		) // of one length, so that the time tells nothing of it
		if subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
			return nil
		}
		return ErrCredential
	}
	t, macs, err := signatures(header)
	if err != nil {
		return err
	}
	want := mac(secret, t, body)
	good := false
	for _, m := range macs {
		good = good || hmac.Equal(m, want)
	}
	if !good {
		return ErrCredential
	}
	return inTime(t, window, now)
}

// Precheck is Authenticate for a request whose body has not been read: a bearer token is checked,
// and of a signature its form and its time. So nothing is read from those who could not be let in
// whatever they send.
func Precheck(header http.Header, secret []byte, window time.Duration, now time.Time) error {
	if strings.HasPrefix(header.Get("Authorization"), "Bearer ") {
		return Authenticate(header, nil, secret, window, now)
	}
	t, macs, err := signatures(header)
	switch {
	case err != nil:
		return err
	case len(macs) == 0:
		return ErrCredential
	}
	return inTime(t, window, now)
}

// inTime checks the time of a signature.
func inTime(t string, window time.Duration, now time.Time) error {
	seconds, err := strconv.ParseInt(t, 10, 64)
	if err != nil {
		return ErrCredential
	}
	if d := now.Sub(time.Unix(seconds, 0)); d > window || d < -window {
		return ErrExpired
	}
	return nil
}

// signatures reads the time and the signatures, four at most, of the header.
func signatures(header http.Header) (t string, macs [][]byte, err error) {
	signature := header.Get(SignatureHeader)
	if signature == "" {
		return "", nil, ErrNoCredential
	}
	for part := range strings.SplitSeq(signature, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			t = value
		case "v1":
			if m, err := hex.DecodeString(value); err == nil && len(m) == sha256.Size && len(macs) < 4 {
				macs = append(macs, m)
			}
		}
	}
	return t, macs, nil
}
