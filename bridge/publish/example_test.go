package publish_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/supabridge/supabridge/bridge/publish"
)

type printer struct{}

func (printer) Send(e publish.Event) (int, error) {
	fmt.Printf("%s to %v: %s\n", e.Name, e.Rooms, e.Data)
	return 1, nil
}

func (printer) Elsewhere(context.Context, []publish.Event) ([]int, int) { return nil, 0 }

func (printer) Disconnect(context.Context, publish.Whom) (int, int) { return 0, 0 }

func Example() {
	secret := []byte("shared with the application")
	handler := publish.New(publish.Options{Secret: secret}, printer{})
	body := `{"event":"order_paid","room":"tenant:7","data":{"id":1}}`
	r := httptest.NewRequest("POST", "/api/publish", strings.NewReader(body))
	r.Header.Set(publish.SignatureHeader, publish.Sign(secret, time.Now(), []byte(body)))
	w := httptest.NewRecorder()
	handler.Publish(w, r)
	fmt.Println(w.Code, w.Body)
	// Output:
	// order_paid to [tenant:7]: {"id":1}
	// 202 {"reached":1}
}
