package config

import (
	"strings"
	"testing"
)

func TestRatesAreReadByIntent(t *testing.T) {
	rates, err := ParseRates([]string{"*=100:1000", "join=0.5:1"})
	if err != nil || len(rates) != 2 || rates["*"] != (Rate{100, 1000}) || rates["join"] != (Rate{0.5, 1}) {
		t.Errorf("%v %v", rates, err)
	}
	for _, text := range []string{"", "join", "join=", "join=1", "join=1:", "=1:1", "join=-1:1", "join=NaN:1", "join=Inf:1", "join=1:0", "join=1:1.5", "join=1:1:1", "join=1e9:1"} {
		if rates, err := ParseRates([]string{text}); err == nil {
			t.Errorf("%q was read as %v", text, rates)
		}
	}
}

func FuzzRates(f *testing.F) {
	f.Add("join=20:200,*=1:1")
	f.Fuzz(func(t *testing.T, texts string) {
		rates, err := ParseRates(strings.Split(texts, ","))
		for name, r := range rates {
			if err != nil || !(r.PerSecond > 0) || r.Burst < 1 || name == "" {
				t.Errorf("%q: %v %v", texts, r, err)
			}
		}
	})
}
