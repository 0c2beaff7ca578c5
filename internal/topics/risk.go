package topics

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// risk says what the change of one setting does to those who read the topic, and
// the flag it needs. is and want differ.
func (t *Topic) risk(h Have, key, is, want string) (string, Flag) {
	switch key {
	case "cleanup.policy":
		return t.policyRisk(h, list(is), list(want))
	case "retention.ms", "retention.bytes":
		if !t.deletes(h) || !narrower(is, want) {
			return "", ""
		}
		if key == "retention.bytes" {
			return "LOSES EVENTS: the oldest beyond " + want + " bytes of a partition are deleted", AcceptDataLoss
		}
		return "LOSES EVENTS: those older than " + span(want) + " are deleted", AcceptDataLoss
	case "delete.retention.ms":
		if narrower(is, want) {
			return "LOSES DELETIONS: a reader that is " + span(want) + " behind does not learn that a key was deleted", AcceptDataLoss
		}
	case "unclean.leader.election.enable":
		if same(key, want, "true") {
			return "LOSES EVENTS: a broker that lags may become leader, and what was acknowledged is gone", AcceptDataLoss
		}
	case "min.insync.replicas":
		if narrower(is, want) {
			return "an acknowledged event is kept by fewer brokers", ""
		}
	case "max.message.bytes":
		if narrower(is, want) {
			return "an event between the two limits is not taken any more", ""
		}
	}
	return "", ""
}

func (t *Topic) policyRisk(h Have, is, want []string) (string, Flag) {
	compacts := slices.Contains(want, "compact") && !slices.Contains(is, "compact")
	deletes := slices.Contains(want, "delete") && !slices.Contains(is, "delete")
	switch {
	case compacts && t.Role != Events:
		return "LOSES RECORDS if the topic is not the relay's own: of each key only the last one stays", AcceptDataLoss
	case compacts && deletes:
		return "LOSES EVENTS: of each key only the last one stays, and that until " + t.retention(h), AcceptDataLoss
	case compacts:
		return "LOSES EVENTS: of each key only the last one stays", AcceptDataLoss
	case deletes:
		return "LOSES EVENTS: the last one of a key, which was kept for ever, is deleted after " + t.retention(h), AcceptDataLoss
	}
	return "", ""
}

// deletes reports whether old records are deleted once a setting is changed:
// with the class's policy, and with that of now, if its change may be held back.
func (t *Topic) deletes(h Have) bool {
	is, want := list(h.Config["cleanup.policy"]), list(t.Config["cleanup.policy"])
	if len(want) == 0 {
		want = is
	}
	_, held := t.policyRisk(h, is, want)
	return slices.Contains(want, "delete") || held != "" && slices.Contains(is, "delete")
}

// retention is how long records will be kept.
func (t *Topic) retention(h Have) string {
	ms, ok := t.Config["retention.ms"]
	if !ok {
		ms = h.Config["retention.ms"]
	}
	if ms == "-1" {
		return "retention.bytes are exceeded"
	}
	return span(ms)
}

// narrower reports whether want is less than is; a negative number is no limit.
// What is no number is no less.
func narrower(is, want string) bool {
	a, err := strconv.ParseInt(is, 10, 64)
	b, berr := strconv.ParseInt(want, 10, 64)
	if err != nil || berr != nil || b < 0 {
		return false
	}
	return a < 0 || b < a
}

// span words milliseconds.
func span(ms string) string {
	n, err := strconv.ParseInt(ms, 10, 64)
	d := time.Duration(n) * time.Millisecond
	switch day := 24 * time.Hour; {
	case err != nil || n < 0 || n > int64(1<<62/time.Millisecond):
		return ms + " ms"
	case d >= 2*day && d%day == 0:
		return fmt.Sprintf("%d days", d/day)
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%d h", d/time.Hour)
	case d >= time.Second && d%time.Second == 0:
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return ms + " ms"
}
