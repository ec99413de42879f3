package outbox_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/supabridge/supabridge/bridge/outbox"
)

func Example() {
	dir, err := os.MkdirTemp("", "outbox")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	print := func(_ context.Context, item outbox.Item) error {
		fmt.Printf("%s\n", item.Body)
		stop()
		return nil
	}
	box, err := outbox.Open(outbox.Options{Path: filepath.Join(dir, "outbox.db"), Deliver: map[string]outbox.Deliver{"printer": print}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer box.Close()
	if _, err := box.Add(ctx, "", outbox.Entry{Target: "printer", Body: []byte("hello")}); err != nil {
		fmt.Println(err)
	}
	box.Run(ctx)
	// Output: hello
}
