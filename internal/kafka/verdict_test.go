package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

func TestClassify(t *testing.T) {
	t.Parallel()
	kerr := func(c ck.ErrorCode) error { return ck.NewError(c, "said the library", false) }
	pointer := ck.NewError(ck.ErrFenced, "fenced", true)
	for _, tc := range []struct {
		name       string
		err, fatal error
		again      bool
		verdict    event.Verdict
		want       string
	}{
		{"fenced", ck.NewError(ck.ErrFenced, "fenced", true), nil, false, event.Fenced, `transactional id "n/p/0" was taken over`},
		{"fenced, a pointer", &pointer, nil, false, event.Fenced, "taken over"},
		{"fenced, wrapped", fmt.Errorf("x: %w", kerr(ck.ErrProducerFenced)), nil, false, event.Fenced, "taken over"},
		{"the reason behind -150", kerr(ck.ErrFatal), ck.NewError(ck.ErrFenced, "other instance", true), false, event.Fenced, "other instance"},
		{"-150 for another reason", kerr(ck.ErrFatal), ck.NewError(ck.ErrOutOfOrderSequenceNumber, "sequence", true), false, event.Restart, "sequence"},
		{"-150 alone", kerr(ck.ErrFatal), nil, false, event.Restart, "code -150"},
		{"id expired", kerr(ck.ErrInvalidProducerIDMapping), nil, false, event.Restart, "code 49"},
		{"no right to the id", kerr(ck.ErrTransactionalIDAuthorizationFailed), nil, false, event.Refuse, `transactional id "n/p/0"`},
		{"no right to the topic", kerr(ck.ErrTopicAuthorizationFailed), nil, false, event.Refuse, `topic "orders"`},
		{"no right to the cluster", kerr(ck.ErrClusterAuthorizationFailed), nil, false, event.Refuse, "cluster"},
		{"topic gone", kerr(ck.ErrUnknownTopicOrPart), nil, false, event.Restart, "cdc-relay topics apply"},
		{"topic gone, again", kerr(ck.ErrUnknownTopic), nil, true, event.Refuse, "cdc-relay topics apply"},
		{"too large", kerr(ck.ErrMsgSizeTooLarge), nil, false, event.Restart, "does not take a record"},
		{"too large, again", kerr(ck.ErrMsgSizeTooLarge), nil, true, event.Stop, "max.message.bytes"},
		{"no key, again", kerr(ck.ErrInvalidRecord), nil, true, event.Stop, "cleanup.policy"},
		{"timeout", kerr(ck.ErrTimedOut), nil, false, event.Restart, "no answer in time from Kafka at b:1"},
		{"timeout of ours", context.DeadlineExceeded, nil, false, event.Restart, "no answer in time from Kafka at b:1"},
		{"interrupted", fmt.Errorf("%w: %w", context.Canceled, kerr(ck.ErrTimedOut)), nil, false, event.Restart, "interrupted"},
		{"credentials", kerr(ck.ErrAuthentication), nil, false, event.Restart, "did not accept our credentials"},
		{"timeout too long", kerr(ck.ErrInvalidTransactionTimeout), nil, false, event.Refuse, "transaction.max.timeout.ms"},
		{"anything", errors.New("strange"), nil, false, event.Restart, "strange"},
		{"already judged", event.Refusef("do", "no"), nil, false, event.Refuse, "no"},
	} {
		err := Classify(tc.err, tc.fatal, Where{Doing: "commit transaction", Topic: "orders", ID: "n/p/0", Bootstrap: "b:1", Again: tc.again})
		if got := event.VerdictOf(err); got != tc.verdict || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: verdict %d, want %d: %v (want %q)", tc.name, got, tc.verdict, err, tc.want)
		}
		if _, ok := errors.AsType[*event.Fault](err); !ok || !errors.Is(err, tc.err) && tc.name != "fenced, a pointer" {
			t.Errorf("%s: %#v is no Fault around its cause", tc.name, err)
		}
	}
	if err := Classify(nil, nil, Where{}); err != nil {
		t.Errorf("nil became %v", err)
	}
	hinted := Classify(kerr(ck.ErrTimedOut), nil, Where{Doing: "x", Hint: "connection refused"})
	if !strings.Contains(hinted.Error(), "last reported: connection refused") {
		t.Errorf("no hint: %v", hinted)
	}
}

func TestCheckTopics(t *testing.T) {
	t.Parallel()
	good := map[string]string{"cleanup.policy": "delete", "min.insync.replicas": "2", "unclean.leader.election.enable": "false"}
	with := func(k, v string) map[string]string {
		out := map[string]string{k: v}
		for k2, v2 := range good {
			if k2 != k {
				out[k2] = v2
			}
		}
		return out
	}
	for _, tc := range []struct {
		name    string
		topic   Topic
		warning string
		refusal string
	}{
		{"fine", Topic{Exists: true, Replicas: 3, Config: good}, "", ""},
		{"missing", Topic{}, "", `Kafka has no topic "a"`},
		{"hidden", Topic{Allowed: []string{}}, "", `no right to write to topic "a"`},
		{"read only", Topic{Exists: true, Replicas: 3, Config: good, Allowed: []string{"describe", "read"}}, "", `no right to write to topic "a"`},
		{"one replica", Topic{Exists: true, Replicas: 1, Config: good}, "one replica", ""},
		{"min isr", Topic{Exists: true, Replicas: 3, Config: with("min.insync.replicas", "1")}, "min.insync.replicas is 1", ""},
		{"unclean", Topic{Exists: true, Replicas: 3, Config: with("unclean.leader.election.enable", "true")}, "unclean", ""},
		{"compacted", Topic{Exists: true, Replicas: 3, Config: with("cleanup.policy", "compact,delete")}, "every event needs a key", ""},
		{"closed configuration", Topic{Exists: true, Replicas: 3}, "DescribeConfigs", ""},
	} {
		tc.topic.Name = "a"
		concerns, err := CheckTopics(map[string]Topic{"a": tc.topic})
		if got := said(concerns); (got == "") != (tc.warning == "") || !strings.Contains(got, tc.warning) {
			t.Errorf("%s: concerns %q, want %q", tc.name, got, tc.warning)
		}
		wantRefusal(t, tc.name, err, tc.refusal)
	}
	_, err := CheckTopics(map[string]Topic{"b": {}, "a": {}, "c": {Exists: true, Replicas: 3, Config: good}})
	wantRefusal(t, "several", err, `Kafka has no topic "a", "b"`)
}

func TestCheckCheckpoint(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		topic   Topic
		warning string
		refusal string
	}{
		{"fine", Topic{Exists: true, Partitions: 25, Replicas: 3, Config: map[string]string{"cleanup.policy": "compact"}}, "", ""},
		{"partitions", Topic{Exists: true, Partitions: 6, Replicas: 3, Config: map[string]string{"cleanup.policy": "compact"}}, "6 partitions", ""},
		{"missing", Topic{}, "", "no checkpoint topic"},
		{"deletes", Topic{Exists: true, Config: map[string]string{"cleanup.policy": "delete"}}, "", "exactly compact"},
		{"deletes too", Topic{Exists: true, Config: map[string]string{"cleanup.policy": "compact,delete"}}, "", "exactly compact"},
		{"closed configuration", Topic{Exists: true}, "", "DescribeConfigs"},
		{"no read", Topic{Exists: true, Allowed: []string{"write", "describe"}, Config: map[string]string{"cleanup.policy": "compact"}}, "", "no right to use"},
	} {
		concerns, err := CheckCheckpoint(tc.topic)
		if got := said(concerns); (got == "") != (tc.warning == "") || !strings.Contains(got, tc.warning) {
			t.Errorf("%s: concerns %q, want %q", tc.name, got, tc.warning)
		}
		wantRefusal(t, tc.name, err, tc.refusal)
	}
}

// wantRefusal checks for a Fault with the verdict Refuse; want "" means no error.
func wantRefusal(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}
	if event.VerdictOf(err) != event.Refuse || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "next: ") {
		t.Errorf("%s: %v, want a refusal with %q and a next step", name, err, want)
	}
}

func said(concerns []Concern) string {
	var lines []string
	for _, c := range concerns {
		lines = append(lines, c.What)
	}
	return strings.Join(lines, "\n")
}
