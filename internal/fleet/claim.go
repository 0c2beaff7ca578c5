package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cdc-relay/cdc-relay/internal/claim"
	"github.com/cdc-relay/cdc-relay/internal/config"
	"github.com/cdc-relay/cdc-relay/internal/doctor"
	"github.com/cdc-relay/cdc-relay/internal/event"
	"github.com/cdc-relay/cdc-relay/internal/registry"
	"github.com/cdc-relay/cdc-relay/internal/relay"
	"github.com/cdc-relay/cdc-relay/internal/transform"
)

// claiming is a sink that stores the objects of a batch before its transaction
// begins: an open transaction waits for nobody, and who reads a record finds
// what it refers to.
type claiming struct {
	relay.Sink
	store   *claim.Store
	metrics *claim.Metrics
}

// Commit stores and commits. A batch without records refers to nothing: what
// blobs it has are of rows that were left to the next start.
func (c claiming) Commit(ctx context.Context, b *event.Batch) error {
	if len(b.Blobs) > 0 && len(b.Records) > 0 {
		if err := c.store.Upload(ctx, b.Blobs, c.metrics); err != nil {
			return err
		}
	}
	return c.Sink.Commit(ctx, b)
}

// claimed makes the pipeline's sink a claiming one, if its contract needs that,
// once the bucket can be written.
func (u *unit) claimed(ctx context.Context, p *relay.Pipeline, reg prometheus.Registerer) error {
	if u.claims == nil || !u.cfg.Contract.Claims() {
		return nil
	}
	m, err := claim.NewMetrics(reg)
	if err != nil {
		return err
	}
	p.Sink = claiming{p.Sink, u.claims, m}
	return u.persist(ctx, func() error { return u.claims.Check(ctx) })
}

// store stores the objects of the batch of a repair or redrive.
func (u *unit) store(ctx context.Context, b *event.Batch) error {
	if len(b.Blobs) == 0 {
		return nil
	}
	m, err := claim.NewMetrics(prometheus.NewRegistry())
	if err != nil {
		return err
	}
	return u.claims.Upload(ctx, b.Blobs, m)
}

// wantReference adds the schema of references for each topic on which a whole
// Avro value may become one. Its subject is <topic>-<full name>, what Confluent
// calls TopicRecordName: under <topic>-value it would be an incompatible version
// of the event's own schema, and consumers find a schema by its id anyway.
func (u *unit) wantReference(wants []registry.Want) ([]registry.Want, error) {
	topics := u.cfg.Contract.ClaimTopics()
	if len(topics) == 0 {
		return wants, nil
	}
	text, ok := u.schemas.Plain(transform.RefSchema)
	if !ok {
		return nil, &event.Fault{Verdict: event.Refuse, What: "a claim_check has payload: true, and the schemas have no " + transform.RefSchema + ".avsc",
			Do: "add it to " + u.Config.Schemas + "; docs/claim-check.md says what it holds"}
	}
	var name struct{ Name, Namespace string }
	if err := json.Unmarshal([]byte(text), &name); err != nil {
		return nil, fmt.Errorf("%s.avsc: %w", transform.RefSchema, err)
	}
	full := name.Name
	if name.Namespace != "" {
		full = name.Namespace + "." + name.Name
	}
	for _, t := range topics {
		wants = append(wants, registry.Want{Subject: t + "-" + full, Name: transform.RefSchema, Schema: text})
	}
	return wants, nil
}

// claimFindings tries the bucket, if one is configured.
func (f *Fleet) claimFindings(ctx context.Context) []doctor.Finding {
	used := slices.ContainsFunc(f.Config.Pipelines(), func(p config.Pipeline) bool { return p.Contract.Claims() })
	if f.claims == nil {
		return nil
	}
	return doctor.ClaimCheck(f.claims.Base(), f.claims.Check(ctx), used)
}
