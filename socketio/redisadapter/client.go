package redisadapter

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// dialTimeout bounds one attempt to reach a Redis.
const dialTimeout = 2 * time.Second

// ErrAddress means that an address can't be read. It does not quote it, since it may hold a
// password.
var ErrAddress = errors.New("not an address of a Redis")

// Client makes a client as an [Adapter] wants one: it gives up soon, and sends nothing again that
// may have been carried out. It connects to nothing yet. The address names
//
//   - a Redis: redis://:password@host:6379/0, rediss:// for TLS, or unix:///path;
//   - a Redis Cluster, by one of its nodes and then others:
//     redis://:password@host1:6379?addr=host2:6379&addr=host3:6379;
//   - Sentinels, and the name that they have for the Redis:
//     redis://sentinel1:26379/0?master_name=mymaster&addr=sentinel2:26379&password=…
//
// Of the two latter go-redis documents further parameters, at ParseClusterURL and ParseFailoverURL.
// TLS takes each host by its own name. Errors: [ErrAddress].
func Client(address string) (redis.UniversalClient, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, ErrAddress // err quotes it
	}
	quiet := &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	switch query := u.Query(); {
	case query.Has("master_name"):
		o, err := redis.ParseFailoverURL(address)
		if err != nil || o.MasterName == "" {
			return nil, fmt.Errorf(
				"%w: of Sentinels it is redis://host:26379/0?master_name=<name>&addr=<host>:<port>",
				ErrAddress,
			)
		}
		o.DialTimeout, o.DialerRetries, o.MaxRetries, o.ContextTimeoutEnabled, o.ClientName = dialTimeout, 1, -1, true,
			clientName
		if o.TLSConfig != nil {
			o.TLSConfig.ServerName = "" // each by its own
		}
		return redis.NewFailoverClient(o), nil
	case query.Has("addr"):
		o, err := redis.ParseClusterURL(address)
		if err != nil {
			return nil, fmt.Errorf(
				"%w: of a Redis Cluster it is redis://host:6379?addr=<host>:<port>&addr=<host>:<port>",
				ErrAddress,
			)
		}
		o.DialTimeout, o.DialerRetries, o.MaxRetries, o.ContextTimeoutEnabled, o.ClientName,
			o.MaintNotificationsConfig = dialTimeout, 1, -1, true, clientName, quiet
		if o.TLSConfig != nil {
			o.TLSConfig.ServerName = "" // each by its own
		}
		return redis.NewClusterClient(o), nil
	}
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, ErrAddress
	}
	o.DialTimeout, o.DialerRetries, o.MaxRetries, o.ContextTimeoutEnabled, o.ClientName,
		o.MaintNotificationsConfig = dialTimeout, 1, -1, true, clientName, quiet
	return redis.NewClient(o), nil
}

// clientName is how connections call themselves in CLIENT LIST.
const clientName = "supabridge"
