package standin

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/supabridge/supabridge/bridge/standin/sql"
)

func TestTheLaneIsToldOfToTheServiceRoleAndGuarded(t *testing.T) {
	t.Parallel()
	const topic = "supabridge:lane:x"
	for _, c := range []struct {
		name      string
		broadcast map[string]string
		key       func(*Server) string
		unguarded bool
		status    int
		guard     string
	}{
		{"service_role", map[string]string{"messages": topic}, (*Server).ServiceKey, false, 200, "ok"},
		{"service_role, and the policy is gone", map[string]string{"messages": topic}, (*Server).ServiceKey, true, 200, "missing"},
		{"anon", map[string]string{"messages": topic}, (*Server).AnonKey, false, 403, ""},
		{"without triggers", nil, (*Server).ServiceKey, false, 404, ""},
		{"with a trigger of the application's own", map[string]string{"messages": "app:rows"}, (*Server).ServiceKey, false, 404, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := New(Options{Broadcast: c.broadcast, Realtime: RealtimeOptions{Policies: []TopicPolicy{{Topic: "%", Read: true, Write: true}}}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close(t.Context()) })
			s.SetLaneGuard(!c.unguarded)
			req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/rest/v1/rpc/supabridge_lane",
				strings.NewReader(`{"schema":"public","tables":["conversations","messages"]}`))
			req.Header.Set("apikey", c.key(s))
			got := httptest.NewRecorder()
			s.Handler().ServeHTTP(got, req)
			var lane struct {
				Topic, Guard string
				Tables       []string
			}
			if err := json.Unmarshal(got.Body.Bytes(), &lane); err != nil || got.Code != c.status || lane.Guard != c.guard {
				t.Fatalf("%d %s, %v; want %d and the guard %q", got.Code, got.Body, err, c.status, c.guard)
			}
			if c.status == 200 && (lane.Topic != topic || !slices.Equal(lane.Tables, []string{"messages"})) {
				t.Errorf("the lane is %+v", lane)
			}
			for name, want := range map[string]bool{topic: c.unguarded || c.broadcast["messages"] != topic, "app:rows": true} {
				access, err := s.realtime.Authorize(t.Context(), Claims{Role: sql.RoleAuthenticated}, name)
				if err != nil || access.ReadBroadcast != want || access.WriteBroadcast != want {
					t.Errorf("a user may use %s: %+v, %v; want %t", name, access, err, want)
				}
			}
		})
	}
}
