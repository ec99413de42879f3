package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const deploy = "../../deploy"

func TestConfigurationsThatAreDeployedAreGood(t *testing.T) {
	for _, name := range []string{"supabridge.yaml", "compose/config/supabridge.yaml", "kubernetes/supabridge.yaml"} {
		path, err := filepath.Abs(filepath.Join(deploy, name))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := program(t, least, nil, "config", "check", "--config", path).CombinedOutput(); err != nil || string(out) != "the configuration is good\n" {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// documents reads every document of every manifest.
func documents(t *testing.T) map[string]map[string]any {
	t.Helper()
	found := make(map[string]map[string]any) // by kind, of those with one
	paths, err := filepath.Glob(deploy + "/*/*.yaml")
	if err != nil || len(paths) < 8 {
		t.Fatalf("%d files (%v)", len(paths), err)
	}
	for _, path := range append(paths, "../../.goreleaser.yaml", deploy+"/supabridge.yaml") {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		decoder := yaml.NewDecoder(f)
		for {
			var document map[string]any
			if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if kind, ok := document["kind"].(string); ok {
				found[kind] = document
			}
		}
		f.Close()
	}
	return found
}

// at follows a path of keys; a list's first member stands for it.
func at(document any, path string) any {
	for step := range strings.SplitSeq(path, ".") {
		if list, ok := document.([]any); ok && len(list) > 0 {
			document = list[0]
		}
		m, ok := document.(map[string]any)
		if !ok {
			return nil
		}
		document = m[step]
	}
	return document
}

func TestManifestsFitTogether(t *testing.T) {
	found := documents(t)
	pod := at(found["Deployment"], "spec.template")
	ports := make(map[any]bool)
	listed, _ := at(pod, "spec.containers.ports").([]any)
	for _, port := range listed {
		ports[at(port, "name")] = true
	}
	for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
		if port := at(pod, "spec.containers."+probe+".httpGet.port"); !ports[port] {
			t.Errorf("%s asks the port %v, and there are %v", probe, port, ports)
		}
	}
	if port := at(found["Service"], "spec.ports.targetPort"); !ports[port] {
		t.Errorf("the service is of the port %v", port)
	}
	labels := at(pod, "metadata.labels")
	for kind, path := range map[string]string{"Deployment": "spec.selector.matchLabels", "Service": "spec.selector", "PodDisruptionBudget": "spec.selector.matchLabels", "NetworkPolicy": "spec.podSelector.matchLabels"} {
		got, err := yaml.Marshal(at(found[kind], path))
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := yaml.Marshal(labels); string(got) != string(want) { // marshaled before
			t.Errorf("%s selects %s, pods are %s", kind, got, want)
		}
	}
	drain, _ := at(pod, "spec.terminationGracePeriodSeconds").(int)
	if rest, _ := at(pod, "spec.containers.lifecycle.preStop.sleep.seconds").(int); rest+20 >= drain { // ops.shutdown_timeout of its supabridge.yaml
		t.Errorf("%ds to end are not enough for %ds and the drain", drain, rest)
	}
	resources, _ := at(found["Kustomization"], "resources").([]any)
	for _, name := range resources {
		if _, err := os.Stat(filepath.Join(deploy, "kubernetes", name.(string))); err != nil {
			t.Error(err)
		}
	}
}

func TestCommandsThatAreDeployedExist(t *testing.T) {
	command := regexp.MustCompile(`/usr/bin/supabridge"?(?:,)? *"?([a-z]+)"?(?:,)? *"?([a-z]*)"?`)
	for _, name := range []string{"Dockerfile", "Dockerfile.release", "systemd/supabridge.service", "compose/compose.yaml"} {
		text, err := os.ReadFile(filepath.Join(deploy, name))
		if err != nil {
			t.Fatal(err)
		}
		calls := command.FindAllStringSubmatch(string(text), -1)
		if len(calls) == 0 {
			t.Errorf("%s runs nothing", name)
		}
		for _, call := range calls {
			if cmd, _, err := newRoot().Find([]string{call[1]}); err != nil || cmd.Name() != call[1] {
				t.Errorf("%s runs %q: %v", name, call[0], err)
			}
		}
	}
}
