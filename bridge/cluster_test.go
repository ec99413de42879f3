package bridge

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/supabridge/supabridge/config"
	"github.com/supabridge/supabridge/internal/redistest"
)

func TestTheWaitForOtherNodesBeginsWhenTheNodeRuns(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Cluster.Redis = "redis://127.0.0.1:1" // nobody is there
	b := &Bridge{log: zerolog.Nop(), metrics: newMetrics()}
	b.settings.Store(&settings{cfg: cfg})
	synctest.Test(t, func(t *testing.T) {
		c, err := b.newCluster()
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		time.Sleep(time.Minute) // from New to Run
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if c.await(ctx); ctx.Err() == nil {
			t.Error("the wait was over before the node ran")
		}
	})
}

func TestANodeThatHearsRedisBeforeItHasAServerWaitsForThat(t *testing.T) {
	t.Parallel()
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
			b.guard, b.emitter = newGuard(b), b.newEmitter()
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
