package outbox

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

// BenchmarkAdd adds what webhooks are like, 64 at a time, to a box in which 50,000 wait.
func BenchmarkAdd(b *testing.B) {
	o, err := Open(Options{Path: filepath.Join(b.TempDir(), "outbox.db"), MaxBytes: 4 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := o.Close(); err != nil {
			b.Error(err)
		}
	}()
	body := []byte(strings.Repeat("Body=hello+there&", 40))
	var next atomic.Int64
	add := func(n int) {
		var adding sync.WaitGroup
		for range 64 {
			adding.Go(func() {
				for i := next.Add(1); i <= int64(n); i = next.Add(1) {
					if _, err := o.Add(b.Context(), "token:"+uuid.NewString(), Entry{Target: "store", Lane: fmt.Sprint(i % 500), Body: body}); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		adding.Wait()
		next.Store(0)
	}
	add(50_000)
	began, commits := time.Now(), o.db.Stats()
	b.ResetTimer()
	add(b.N)
	b.StopTimer()
	after := o.db.Stats()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "adds/s")
	b.ReportMetric(float64(after.TxStats.GetWrite()-commits.TxStats.GetWrite())/float64(b.N), "writes/op")
	b.ReportMetric(float64(after.TxStats.GetPageAlloc()-commits.TxStats.GetPageAlloc())/float64(b.N), "bytes-written/op")
}
