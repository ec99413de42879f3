package phxserver_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/supabridge/supabridge/phoenix/phxserver"
)

// A client that joins a channel, and an outage for it.
func Example() {
	srv := phxserver.NewServer(newProject(), phxserver.Options{})
	web := httptest.NewServer(srv)
	defer web.Close()
	defer srv.Close(context.Background())

	url := strings.Replace(web.URL, "http", "ws", 1) + "/realtime/v1/websocket?vsn=2.0.0&apikey=" + token("anon", "")
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ws.Close()
	_ = ws.WriteMessage(websocket.TextMessage, []byte(`["1","1","realtime:room","phx_join",{"config":{}}]`))
	_, reply, err := ws.ReadMessage()
	fmt.Println(string(reply), err)

	if _, err := srv.Inject(phxserver.Fault{Action: phxserver.Refuse, Status: 429, For: time.Minute}); err != nil {
		fmt.Println(err)
		return
	}
	_, resp, _ := websocket.DefaultDialer.Dial(url, nil)
	fmt.Println(resp.StatusCode)
	// Output:
	// ["1","1","realtime:room","phx_reply",{"status":"ok","response":{"postgres_changes":[]}}] <nil>
	// 429
}
