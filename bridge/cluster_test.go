package bridge

import (
	"testing"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/redistest"
)

func TestANodeThatHearsRedisBeforeItHasAServerWaitsForThat(t *testing.T) {
	cfg := config.Default()
	cfg.Cluster.Redis = config.Secret(redistest.Start(t).URL())
	for _, made := range []bool{true, false} {
		log := &lines{}
		b := &Bridge{log: zerolog.New(log), metrics: newMetrics()}
		b.settings.Store(&settings{cfg: cfg})
		var err error
		if b.cluster, err = b.newCluster(); err != nil {
			t.Fatal(err)
		}
		told := make(chan struct{})
		go func() { // as the adapter's goroutine does
			defer close(told)
			b.cluster.changed(nil)
		}()
		if made {
			b.guard = newGuard(b)
			if err := b.listen(); err != nil {
				t.Fatal(err)
			}
			<-told
			b.io.Close()
		}
		b.cluster.close()
		<-told
		if joined := log.String() != ""; joined != made {
			t.Errorf("the bridge was made %t: the log says %q", made, log)
		}
	}
}
