package rig

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/cdc-relay/cdc-relay/outbox"
)

// Types are the event types the services write.
var Types = []string{"essay.state.changed", "spellcheck.phase.completed", "assessment.result.published"}

// Event is one event as the ground truth knows it.
type Event struct {
	ID   string
	Type string
	Key  string
	Seq  int // per type and key, from 1, in commit order
	Tx   int // number of the Postgres transaction
	Of   int // how many events that transaction has
}

// Outbox makes the row of e: a payload of its type's schema, with Seq, Tx and Of
// in the metadata.
func (e Event) Outbox() outbox.Event {
	id := uuid.MustParse(e.ID)
	return outbox.Event{ID: outbox.ID(id), AggregateType: "essay", AggregateID: e.Key, Type: e.Type, Payload: json.RawMessage(e.Payload())}
}

// Payload is the JSON of e, about 600 bytes to 1 KB.
func (e Event) Payload() string {
	now := time.Now().UnixMicro()
	return fmt.Sprintf(`{"event_id":%q,"event_type":%q,"event_timestamp":%d,"schema_version":1,"source_service":"rig","correlation_id":%q,`+
		`"metadata":{"seq":"%d","tx":"%d","of":"%d"},"data":%s}`, e.ID, e.Type, now, e.ID, e.Seq, e.Tx, e.Of, e.data(now))
}

func (e Event) data(now int64) string {
	switch e.Type {
	case Types[0]:
		return fmt.Sprintf(`{"entity_ref":%q,"essay_id":%q,"batch_id":"batch-7","previous_state":"spellchecked_success","new_state":"cj_assessment_success","state_version":%d,"changed_at":%d,"reason":null}`,
			e.Key, e.Key, e.Seq, now)
	case Types[1]:
		return fmt.Sprintf(`{"batch_id":%q,"entity_ref":"essay:1","essay_id":"essay-1","status":"SUCCEEDED","corrected_text_uri":"s3://texts/essay-1.txt","processing_duration_ms":%d,"error_code":null}`,
			e.Key, e.Seq)
	default:
		return fmt.Sprintf(`{"cj_assessment_job_id":%q,"batch_id":"batch-7","entity_ref":"essay:1","status":"COMPLETED","essay_results":[`+
			`{"essay_id":"essay-1","normalized_score":0.8125,"letter_grade":"B+","confidence_score":0.93,"confidence_label":"HIGH","bt_score":1.25,"rank":1,"is_anchor":false,"feedback_uri":null,"metrics_uri":"s3://metrics/1.json"},`+
			`{"essay_id":"essay-2","normalized_score":0.5,"letter_grade":"C","confidence_score":0.71,"confidence_label":"MID","bt_score":-0.5,"rank":2,"is_anchor":true,"feedback_uri":"s3://feedback/2.md","metrics_uri":null}],"artifacts":[]}`, e.Key)
	}
}
