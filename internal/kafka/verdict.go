package kafka

import (
	"context"
	"errors"
	"fmt"

	ck "github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"github.com/cdc-relay/cdc-relay/internal/event"
)

// Where says what was being done when an error of the client library came up.
type Where struct {
	Doing     string // "commit transaction", for the message
	Topic     string // when one is known
	ID        string // transactional id, when one is in use
	Bootstrap string
	Hint      string // what the client last reported on its own, such as a refused connection
	// Again says that a failure of the same kind was met before without a
	// commit between: what a topic refuses twice is not retried for ever.
	Again bool
}

// topicOf names the topic for messages.
func (w *Where) topicOf() string {
	if w.Topic == "" {
		return "a topic of the batch"
	}
	return fmt.Sprintf("topic %q", w.Topic)
}

// AsError finds the client library's error in err. It is a value type, but a
// pointer is found too.
func AsError(err error) (ck.Error, bool) {
	if e, ok := errors.AsType[ck.Error](err); ok {
		return e, true
	}
	if p, ok := errors.AsType[*ck.Error](err); ok && p != nil {
		return *p, true
	}
	return ck.Error{}, false
}

// Rejected reports whether err says that a topic (not the cluster, not the
// producer) did not take a record. Whoever meets it twice without a commit
// between sets Where.Again.
func Rejected(err error) bool {
	e, ok := AsError(err)
	if !ok {
		return false
	}
	switch e.Code() {
	case ck.ErrUnknownTopicOrPart, ck.ErrUnknownTopic, ck.ErrUnknownPartition, ck.ErrUnknownTopicID,
		ck.ErrMsgSizeTooLarge, ck.ErrRecordListTooLarge, ck.ErrInvalidRecord, ck.ErrPolicyViolation, ck.ErrInvalidMsg,
		ck.ErrTopicException:
		return true
	}
	return false
}

// Classify is the one function that decides what an error of the Kafka client
// does to a pipeline. It returns nil for nil, an error that already holds an
// event.Fault as it is, and else an *event.Fault around err.
//
// fatal is the producer's GetFatalError: the library answers -150 (whose
// IsFatal is false) once it is broken, and keeps the reason there. Flags and
// the fatal reason are looked at before codes:
//
//	fatal -144, 47, 90            → Fenced
//	no right to topic, id, group  → Refuse
//	topic gone                    → Restart (start checks it), Refuse when Again
//	a record the topic won't take → Restart (limits are read anew), Stop when Again
//	anything else                 → Restart, the one recovery path
func Classify(err, fatal error, w Where) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*event.Fault](err); ok {
		return err
	}
	e, ok := AsError(err)
	if f, broken := AsError(fatal); broken {
		e, ok = f, true
		err = fmt.Errorf("%w (reason: %s)", err, f.Error())
	}
	if !ok {
		return unanswered(err, w)
	}
	f := byCode(e, w)
	f.Err = err
	if f.What == "" {
		f.What = w.Doing + failed(err, w, e)
	}
	if w.Hint != "" && f.Verdict == event.Restart {
		f.Err = fmt.Errorf("%w (the client last reported: %s)", err, w.Hint)
	}
	return f
}

// failed ends a sentence about an error without a special text.
func failed(err error, w Where, e ck.Error) string {
	switch {
	case errors.Is(err, context.Canceled):
		return ": interrupted"
	case e.IsTimeout(), e.IsRetriable():
		return ": no answer in time from Kafka at " + w.Bootstrap
	}
	return fmt.Sprintf(" failed (code %d)", e.Code())
}

// unanswered is an error that is none of the client library's: our own
// deadline, or the end of the process.
func unanswered(err error, w Where) *event.Fault {
	what := w.Doing
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		what += ": no answer in time from Kafka at " + w.Bootstrap
	case errors.Is(err, context.Canceled):
		what += ": interrupted"
	}
	if w.Hint != "" {
		err = fmt.Errorf("%w (the client last reported: %s)", err, w.Hint)
	}
	return &event.Fault{Verdict: event.Restart, What: what, Err: err}
}

// byCode is reached only with an error whose flags are known.
func byCode(e ck.Error, w Where) *event.Fault {
	switch e.Code() {
	case ck.ErrFenced, ck.ErrProducerFenced, ck.ErrInvalidProducerEpoch:
		return &event.Fault{Verdict: event.Fenced,
			What: fmt.Sprintf("%s: transactional id %q was taken over, by another relay with this name or because our own transaction timed out", w.Doing, w.ID)}
	case ck.ErrTransactionalIDAuthorizationFailed:
		return refuse("give the relay's user the ACLs Write and Describe on transactional ids with the prefix of its name",
			"%s: no right to use transactional id %q", w.Doing, w.ID)
	case ck.ErrTopicAuthorizationFailed:
		return refuse("give the relay's user the ACLs Write and Describe on the topic (and Read and DescribeConfigs on the checkpoint topic)",
			"%s: no right to %s", w.Doing, w.topicOf())
	case ck.ErrClusterAuthorizationFailed:
		return refuse("give the relay's user the ACL Describe (to create topics also Create) on the cluster", "%s: no right to the cluster", w.Doing)
	case ck.ErrUnknownTopicOrPart, ck.ErrUnknownTopic, ck.ErrUnknownPartition, ck.ErrUnknownTopicID:
		return twice(w, event.Refuse, "cdc-relay topics apply", "%s: %s does not exist any more", w.Doing, w.topicOf())
	case ck.ErrMsgSizeTooLarge, ck.ErrRecordListTooLarge, ck.ErrInvalidRecord, ck.ErrPolicyViolation, ck.ErrInvalidMsg,
		ck.ErrTopicException:
		return twice(w, event.Stop, "compare max.message.bytes and cleanup.policy of the topics with the rows: cdc-relay doctor",
			"%s: %s does not take a record of the batch", w.Doing, w.topicOf())
	case ck.ErrAuthentication, ck.ErrSaslAuthenticationFailed:
		return &event.Fault{What: w.Doing + ": Kafka at " + w.Bootstrap + " did not accept our credentials",
			Do: "check sasl.mechanisms, sasl.username and sasl.password: cdc-relay config show"}
	case ck.ErrSsl:
		return &event.Fault{What: w.Doing + ": no TLS connection to Kafka at " + w.Bootstrap,
			Do: "check security.protocol and the ssl.* properties: cdc-relay config show"}
	case ck.ErrInvalidTransactionTimeout:
		return refuse("lower kafka property transaction.timeout.ms, or raise transaction.max.timeout.ms of the brokers",
			"%s: the brokers do not allow this transaction.timeout.ms", w.Doing)
	}
	return &event.Fault{}
}

func refuse(do, format string, args ...any) *event.Fault { return event.Refusef(do, format, args...) }

// twice is a fault that takes the recovery path the first time, because the
// start looks at the topics anew, and ends with verdict when that did not help.
func twice(w Where, verdict event.Verdict, do, format string, args ...any) *event.Fault {
	f := &event.Fault{Verdict: event.Restart, What: fmt.Sprintf(format, args...), Do: do}
	if w.Again {
		f.Verdict = verdict
	}
	return f
}
