package ops

import (
	"testing"
	"time"
)

func TestLatenciesCoverAQuarterOfAnHour(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	h := latencyLog{now: func() time.Time { return now }}
	for range 99 {
		h.observe(10 * time.Millisecond)
	}
	h.observe(time.Hour)
	h.observe(-time.Second)
	now = now.Add(slotLength)
	h.observe(0)
	list := h.recent()
	if len(list) != 2 || list[0].Changes != 101 || list[1].Changes != 1 {
		t.Fatalf("recent is %+v", list)
	}
	if m := list[0].Median; m < 10 || m > 12.5 {
		t.Errorf("the median is %v ms, want 10 to 12.5", m)
	}
	if p := list[0].P99; p < 10 || p > 12.5 {
		t.Errorf("99 %% are below %v ms, want 10 to 12.5", p)
	}
	now = now.Add(slotCount * slotLength)
	if list := h.recent(); len(list) != 0 {
		t.Errorf("a quarter of an hour later there is %+v", list)
	}
}
