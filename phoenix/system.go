package phoenix

import "encoding/json"

// Messages of the system event that mean something.
const (
	messageSubscribed  = "Subscribed to PostgreSQL"
	messageReplicating = "Replication connection established"
	extensionChanges   = "postgres_changes"
	extensionSystem    = "system"
)

// receiveSystem handles what the server says about a joined channel.
func (ch *channel) receiveSystem(payload []byte) {
	var p struct {
		Extension string          `json:"extension"`
		Status    string          `json:"status"`
		Message   json.RawMessage `json:"message"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		ch.c.dropped(err)
		return
	}
	var message string
	if json.Unmarshal(p.Message, &message) != nil {
		message = string(p.Message)
	}
	switch {
	case p.Status == "error":
		ch.systemError(p.Extension, message)
	case p.Extension == extensionChanges && message == messageSubscribed:
		ch.subscribed()
	case p.Extension == extensionSystem && message == messageReplicating:
		ch.replicating = true
		ch.checkLive()
	}
}

// subscribed handles "Subscribed to PostgreSQL". Said again on a live channel it
// means that the subscription was made anew, and that changes before it may be lost.
func (ch *channel) subscribed() {
	if len(ch.opts.Changes) == 0 {
		return
	}
	ch.system = nil
	if ch.feedLive && ch.stage == StageLive {
		ch.markGap(GapResubscribed, ch.evidence)
		ch.announceLive()
		return
	}
	ch.feedLive = true
	ch.checkLive()
}

func (ch *channel) systemError(extension, message string) {
	e := &SystemError{Extension: extension, Message: message, Class: systemClass(message)}
	if extension == extensionChanges {
		e.Class = feedClass(message)
	}
	ch.system = e
	ch.deliver(e)
	if extension != extensionChanges || ch.stage == StageClosed {
		return // phx_close follows
	}
	err := &Error{Op: OpSubscribe, Topic: ch.topic, Reason: message, Class: e.Class}
	ch.lastErr = err
	if ch.feedLive {
		ch.feedLive = false
		ch.markGap(GapFeedError, ch.evidence)
	}
	if ch.stage == StageLive {
		ch.silence.stop()
		ch.setStage(StageJoined)
	}
	if e.Class != Permanent {
		ch.waitLive() // the server tries again by itself
		return
	}
	// It does not, so that only a new join can heal it: in a few minutes.
	ch.failWaiters(err)
	ch.liveTimer.stop()
	ch.liveTimer = ch.c.agenda.after(ch.c.opts.Backoff.delay(Permanent, 0, ch.c.opts.Jitter()), func() {
		ch.rejoinNow(err, GapFeedError)
	})
}
