package twilio_test

import (
	"fmt"

	"github.com/supabridge/supabridge/bridge/twilio"
)

func Example() {
	params, err := twilio.ParseForm([]byte("MessageSid=SM1&From=whatsapp%3A%2B15550111&To=whatsapp%3A%2B15550100&Body=hello&NumMedia=0"))
	if err != nil {
		fmt.Println(err)
		return
	}
	event := twilio.Read(params)
	fmt.Println(event.Kind, event.Sid, event.Body)
	fmt.Println(twilio.Supersedes("sent", "delivered"))
	// Output:
	// message SM1 hello
	// false
}
