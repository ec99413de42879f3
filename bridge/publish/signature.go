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
	// ErrNoCredential: neither a bearer token nor a signature.
	ErrNoCredential = errors.New("no credential: send the secret as a bearer token, or sign the body")
	// ErrCredential: the token or the signature is wrong.
	ErrCredential = errors.New("the credential is wrong")
	// ErrExpired: the signature is right, and its time too far from the clock.
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

// Authenticate checks that a request shows the secret or is signed with it, at most window from now. It gives ErrNoCredential, ErrCredential or ErrExpired.
func Authenticate(header http.Header, body, secret []byte, window time.Duration, now time.Time) error {
	if token, ok := strings.CutPrefix(header.Get("Authorization"), "Bearer "); ok {
		want, got := sha256.Sum256(secret), sha256.Sum256([]byte(token)) // of one length, so that the time tells nothing of it
		if subtle.ConstantTimeCompare(want[:], got[:]) == 1 {
			return nil
		}
		return ErrCredential
	}
	signature := header.Get(SignatureHeader)
	if signature == "" {
		return ErrNoCredential
	}
	var t string
	var macs [][]byte
	for part := range strings.SplitSeq(signature, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			t = value
		case "v1":
			if m, err := hex.DecodeString(value); err == nil && len(macs) < 4 {
				macs = append(macs, m)
			}
		}
	}
	want := mac(secret, t, body)
	good := false
	for _, m := range macs {
		good = good || hmac.Equal(m, want)
	}
	seconds, err := strconv.ParseInt(t, 10, 64)
	if !good || err != nil {
		return ErrCredential
	}
	if d := now.Sub(time.Unix(seconds, 0)); d > window || d < -window {
		return ErrExpired
	}
	return nil
}
