package sample

// line is said by the customer or by the colleague who looks after them.
type line struct {
	customer bool
	text     string
}

// dialogues are played one after the other; each conversation gets another one at each turn.
var dialogues = [][]line{
	{
		{true, "Good morning! Is there still room on tomorrow's delivery?"},
		{false, "Good morning. There is, until 4 pm today. What do you need?"},
		{true, "For the weekend:\n\n• 12 crates of sparkling water\n• 4 crates of tonic\n• 2 boxes of limes"},
		{false, "All in stock. The limes come as boxes of 60, is that fine?"},
		{true, "60 is fine 👍"},
		{false, "Then it is confirmed: 12 water, 4 tonic, 2 limes.\nDelivery tomorrow between 7 and 9."},
		{true, "Perfect, thank you!"},
	},
	{
		{true, "Hello, one case arrived broken this morning."},
		{true, "Six bottles of the olive oil. I have photos if you need them."},
		{false, "I am sorry about that. No photos needed, I can see the driver's note."},
		{false, "Would you like a new case with the next delivery, or a credit on this month's invoice?"},
		{true, "A new case please, we are running low."},
		{false, "Done. It is on the van for Thursday, at no charge."},
		{true, "Great service, thanks 🙏"},
	},
	{
		{true, "Could you send me the price list for next month?"},
		{
			false,
			"Of course. Two things change:\n1. Coffee beans go up by 3 %\n2. Oat milk goes down by 5 %\n\nEverything else stays as it is.",
		},
		{true, "Good to know. Then I take the coffee now, at the old price."},
		{true, "20 kg of the dark roast."},
		{false, "20 kg dark roast at this month's price. Shall I add it to your standing order?"},
		{true, "No, just this once."},
		{false, "Noted, just once. You will find it in Monday's delivery."},
	},
	{
		{true, "Where is our driver? We open in half an hour."},
		{false, "Let me look. One moment."},
		{false, "He was held up at the bridge and is two stops away from you: about 15 minutes."},
		{true, "OK, that still works. Can he use the back door? The front is being painted."},
		{false, "I have told him: back door."},
		{true, "He is here. Thanks!"},
	},
	{
		{true, "Hi! We are closed from the 1st to the 7th. Please pause our order."},
		{false, "Paused from the 1st to the 7th. The first delivery after that is on the 8th, is that right?"},
		{true, "Make it the 9th, we need a day to clean up."},
		{false, "The 9th it is. Enjoy the break!"},
		{true, "We will 😊"},
	},
}

// replies are what customers say to somebody who wrote to them on the page.
var replies = []string{
	"Thank you, that helps.",
	"Got it, thanks!",
	"Alright. I will get back to you this afternoon.",
	"Perfect 👍",
}
