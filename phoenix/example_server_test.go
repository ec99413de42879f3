package phoenix_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/gorilla/websocket"
)

// startProject is a server for the examples: it accepts every join, lets one row
// come, and takes every message.
func startProject() *httptest.Server {
	var upgrader websocket.Upgrader
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		for {
			kind, frame, err := ws.ReadMessage()
			if err != nil {
				return
			}
			for _, answer := range answers(kind, frame) {
				if ws.WriteMessage(websocket.TextMessage, []byte(answer)) != nil {
					return
				}
			}
		}
	}))
}

func answers(kind int, frame []byte) []string {
	if kind == websocket.BinaryMessage { // a broadcast: kind, five lengths, encoding, join_ref, ref, topic, …
		join, ref, topic := int(frame[1]), int(frame[2]), int(frame[3])
		text := string(frame[7:])
		return []string{fmt.Sprintf(`[%q,%q,%q,"phx_reply",{"status":"ok","response":{}}]`, text[:join], text[join:join+ref], text[join+ref:join+ref+topic])}
	}
	var m []json.RawMessage
	if json.Unmarshal(frame, &m) != nil || len(m) != 5 {
		return nil
	}
	reply := func(response string) string {
		return fmt.Sprintf(`[%s,%s,%s,"phx_reply",{"status":"ok","response":%s}]`, m[0], m[1], m[2], response)
	}
	var join struct {
		Config struct {
			Changes []map[string]any `json:"postgres_changes"`
		} `json:"config"`
	}
	if string(m[3]) != `"phx_join"` || json.Unmarshal(m[4], &join) != nil || len(join.Config.Changes) == 0 {
		return []string{reply(`{"postgres_changes":[]}`)}
	}
	join.Config.Changes[0]["id"] = 1
	bound, _ := json.Marshal(join.Config.Changes)
	return []string{
		reply(`{"postgres_changes":` + string(bound) + `}`),
		fmt.Sprintf(`[%s,null,%s,"system",{"message":"Subscribed to PostgreSQL","status":"ok","extension":"postgres_changes","channel":"inbox"}]`, m[0], m[2]),
		fmt.Sprintf(`[null,null,%s,"postgres_changes",{"data":{"table":"messages","type":"INSERT","record":{"id": 9007199254740993, "body": "hello"},"columns":[{"name": "id", "type": "int8"}, {"name": "body", "type": "text"}],"errors":null,"schema":"public","commit_timestamp":"2026-11-22T22:54:04.222Z"},"ids":[1]}]`, m[2]),
	}
}
