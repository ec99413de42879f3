// Package twilio reads Twilio's messaging webhooks: it checks that Twilio sent them, takes their
// parameters apart, and knows which delivery status may follow which.
//
//	v, err := twilio.NewValidator(twilio.Options{Tokens: []string{token}, PublicURLs: []string{"https://hooks.example.com"}})
//	if err := v.Validate(r, body); err != nil { … 403 }
//	params, err := twilio.ParseForm(body)
//	event := twilio.Read(params)
//
// Twilio signs the URL it was given, as it was given, and the parameters of a form. Both are taken
// here from the bytes that arrived: a URL or a form that was parsed and written anew is another.
// The package starts no goroutine.
package twilio
