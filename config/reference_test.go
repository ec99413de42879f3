package config

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestEveryKeyIsDescribed(t *testing.T) {
	var visit func(k *key)
	visit = func(k *key) {
		for _, child := range k.children {
			if s := child.description(); len(s) < 5 || !strings.HasSuffix(s, ".") {
				t.Errorf("%s is described as %q", child.path, s)
			}
			visit(child)
		}
	}
	visit(root())
}

func TestVariablesAndFlagsAreUnique(t *testing.T) {
	taken := make(map[string]string)
	for k := range root().leaves() {
		for _, name := range append([]string{k.variable(), k.flag()}, wellKnown[k.path]...) {
			if other := taken[name]; other != "" {
				t.Errorf("%s and %s are both set by %s", other, k.path, name)
			}
			taken[name] = k.path
		}
	}
}

func TestReferenceIsAFileThatSetsTheDefaults(t *testing.T) {
	var reference strings.Builder
	if err := Reference(&reference); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, Sources{File: file(t, "c.yaml", reference.String()), Environ: complete})
	want := Default()
	for k := range root().leaves() {
		if strings.HasPrefix(k.path, "supabase.") && c.Origin(k.path).Kind != FromFile {
			continue // given by complete, or derived
		}
		got, want := k.in(c).Interface(), k.in(want).Interface()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v", k.path, got, want)
		}
	}
	for _, want := range []string{
		"  # How long a user stays online after the last connection closed", "SUPABASE_SECRET_KEY", "  grace: 10s\n", "From 0s to 10m.",
	} {
		if !strings.Contains(reference.String(), want) {
			t.Errorf("reference lacks %q", want)
		}
	}
}

func TestSchemaHoldsEveryKeyAndItsDefaultFits(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	for k := range root().leaves() {
		place := schema
		for name := range strings.SplitSeq(k.path, ".") {
			if place["additionalProperties"] != false {
				t.Fatalf("above %s the schema allows unknown keys", k.path)
			}
			next, found := place["properties"].(map[string]any)[name].(map[string]any)
			if !found {
				t.Fatalf("schema lacks %s", k.path)
			}
			place = next
		}
		if place["description"] != k.description() {
			t.Errorf("schema describes %s as %q", k.path, place["description"])
		}
		if pattern, found := place["pattern"].(string); found {
			if !regexp.MustCompile(pattern).MatchString(place["default"].(string)) {
				t.Errorf("default of %s is %q, which the schema refuses", k.path, place["default"])
			}
		}
		if place["type"] == nil || place["default"] == nil {
			t.Errorf("schema of %s is %v, want a type and a default", k.path, place)
		}
	}
}

func TestSchemaPatternsAcceptWhatLoadAccepts(t *testing.T) {
	durations, sizes := regexp.MustCompile(durationPattern), regexp.MustCompile(sizePattern)
	grace, queue := root().child("presence").child("grace"), root().child("socketio").child("max_queue")
	for _, s := range []string{"0", "5s", "1m30s", "1.5s", "300ms", "5", "", "1d", "s", "1 s"} {
		_, m := grace.parse(s)
		if durations.MatchString(s) != (m == nil) {
			t.Errorf("duration %q: schema says %t, Load %t", s, durations.MatchString(s), m == nil)
		}
	}
	for _, s := range []string{"1MiB", "64 KiB", "65536", "65536B", "1M", "1mib", "", "1.5MiB"} {
		_, m := queue.parse(s)
		if sizes.MatchString(s) != (m == nil) {
			t.Errorf("size %q: schema says %t, Load %t", s, sizes.MatchString(s), m == nil)
		}
	}
}
