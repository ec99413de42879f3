package bridge

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"
)

// When a project's published keys are read. Made-up tokens can name as many unknown keys as they
// like, so what they cause is bounded by a budget that all tokens share. Keys may rotate several
// times in a row: the budget has room for that. While it is used up tokens wait for the next read,
// all for the same.
const (
	keysEvery       = 10 * time.Minute // also without an occasion, so that keys that were taken back go
	keysRetry       = 30 * time.Second // after a read that failed
	keysBudget      = 10               // reads for unknown keys at once
	keysBudgetEvery = 3 * time.Second  // and then one each
	keysWait        = 8 * time.Second  // how long a token waits for the read that it causes
	unknownFor      = 10 * time.Second // a key that was not among those read isn't looked for again
	maxUnknownKeys  = 1000             // how many of those are remembered
	maxKeys         = 256 << 10        // bytes of the answer; one key takes some 500
)

// errKeysAway: the published keys could not be read, or not now, so nobody knows whether the token
// is good. It passes.
var errKeysAway = errors.New("the project's signing keys can't be read now")

// publishedKeys are the keys by which a project signs tokens (a JWK Set, RFC 7517). They are read
// when they are first needed, when a token names one that isn't known, and every keysEvery by a
// goroutine that ends with ctx. Safe for concurrent use.
type publishedKeys struct {
	address string
	timeout time.Duration
	ctx     context.Context
	log     zerolog.Logger
	budget  *rate.Limiter
	unknown *lru.Cache[[sha256.Size]byte, time.Time] // names of keys that are not published, until when that is believed

	mu     sync.Mutex     // guards the rest
	known  jwkset.Storage // those read last; nil before
	flight *keysRead      // under way, nil without one
	kept   bool           // the goroutine runs
}

// keysRead is one reading of the keys.
type keysRead struct {
	begun bool          // the request is on its way; guarded by the keys' mu
	done  chan struct{} // closed in the end, after err is set
	err   error
}

func newPublishedKeys(
	ctx context.Context,
	address string,
	timeout time.Duration,
	log zerolog.Logger,
) (*publishedKeys, error) {
	unknown, err := lru.New[[sha256.Size]byte, time.Time](maxUnknownKeys)
	if err != nil {
		return nil, fmt.Errorf("bridge: keys at %s: %w", address, err)
	}
	return &publishedKeys{address: address, timeout: timeout, ctx: ctx, log: log, unknown: unknown,
		budget: rate.NewLimiter(rate.Every(keysBudgetEvery), keysBudget)}, nil
}

// key gives the key, or keys, that may have signed a token, for jwt's parser. errKeysAway where
// that can't be said now.
func (k *publishedKeys) key(token *jwt.Token) (any, error) {
	kid, _ := token.Header[jwkset.HeaderKID].(string)
	known := k.now()
	if !has(known, kid) {
		name := sha256.Sum256([]byte(kid))
		if until, ok := k.unknown.Get(name); !ok || time.Now().After(until) {
			late, err := k.read()
			if err == nil && late && !has(k.now(), kid) {
				_, err = k.read()
			}
			if err != nil {
				return nil, fmt.Errorf("%w: %w", errKeysAway, err)
			}
			if known = k.now(); !has(known, kid) {
				k.unknown.Add(name, time.Now().Add(unknownFor))
			}
		}
	}
	keys, err := keyfunc.New(keyfunc.Options{Ctx: k.ctx, Storage: known})
	if err != nil {
		return nil, err
	}
	return keys.Keyfunc(token)
}

func (k *publishedKeys) now() jwkset.Storage {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known
}

// has reports whether a key is among those read; of a token that names none, whether any has been
// read.
func has(known jwkset.Storage, kid string) bool {
	if known == nil || kid == "" {
		return known != nil
	}
	_, err := known.KeyRead(context.Background(), kid)
	return err == nil
}

// read reads the keys anew as soon as the budget allows. late: it was a reading that had begun
// before, and may have missed a key.
func (k *publishedKeys) read() (late bool, err error) {
	k.mu.Lock()
	if !k.kept {
		k.kept = true
		go k.keep()
	}
	flight := k.flight
	if flight == nil {
		flight = k.start(k.budget.Reserve().Delay())
	}
	late = flight.begun
	k.mu.Unlock()
	wait := time.NewTimer(keysWait)
	defer wait.Stop()
	select {
	case <-flight.done:
		return late, flight.err
	case <-wait.C:
		return late, fmt.Errorf("no answer from %s within %s", k.address, keysWait)
	case <-k.ctx.Done():
		return late, k.ctx.Err()
	}
}

// start begins a reading after a while. k.mu is held.
func (k *publishedKeys) start(after time.Duration) *keysRead {
	flight := &keysRead{done: make(chan struct{})}
	k.flight = flight
	go func() {
		defer close(flight.done)
		known, err := k.fetch(flight, after)
		if err != nil && k.ctx.Err() == nil {
			k.log.Warn().
				Err(err).
				Str("url", k.address).
				Msg("the project's signing keys could not be read; those read before stay")
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if flight.err = err; err == nil {
			k.known = known
		}
		k.flight = nil
	}()
	return flight
}

// keep reads the keys again and again until ctx ends.
func (k *publishedKeys) keep() {
	next := time.NewTimer(keysEvery)
	defer next.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-next.C:
		}
		k.mu.Lock()
		flight := k.flight
		if flight == nil {
			flight = k.start(0)
		}
		k.mu.Unlock()
		<-flight.done
		if flight.err != nil {
			next.Reset(keysRetry)
		} else {
			next.Reset(keysEvery)
		}
	}
}

func (k *publishedKeys) fetch(flight *keysRead, after time.Duration) (jwkset.Storage, error) {
	turn := time.NewTimer(after)
	defer turn.Stop()
	select {
	case <-turn.C:
	case <-k.ctx.Done():
		return nil, k.ctx.Err()
	}
	k.mu.Lock()
	flight.begun = true
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(k.ctx, k.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", resp.Status)
	}
	var set jwkset.JWKSMarshal
	if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxKeys)).Decode(&set); err != nil {
		return nil, fmt.Errorf("the answer is no set of keys: %w", err)
	}
	known := jwkset.NewMemoryStorage()
	for _, raw := range set.Keys {
		key, err := jwkset.NewJWKFromMarshal(raw, jwkset.JWKMarshalOptions{Private: true}, jwkset.JWKValidateOptions{})
		if errors.Is(err, jwkset.ErrUnsupportedKey) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("key %.60q can't be read: %w", raw.KID, err)
		}
		if err := known.KeyWrite(ctx, key); err != nil {
			return nil, fmt.Errorf("key %.60q can't be kept: %w", raw.KID, err)
		}
	}
	return known, nil
}
