-- One event, as a service would publish it beside its own changes:
--
--   docker compose -f deploy/compose.yaml exec -T postgres psql -U relay essays < deploy/publish.sql
select cdc_relay.publish_to_outbox(
  'essay', 'essay-0001', 'essay.state.changed',
  $json${
    "event_id": "0198c5a0-6b1e-7c3a-9d2f-5a1b2c3d4e5f",
    "event_type": "essay.state.changed",
    "event_timestamp": 1767225600123456,
    "schema_version": 1,
    "source_service": "essay_lifecycle_service",
    "correlation_id": "6f1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d",
    "data": {
      "entity_ref": "essay:essay-0001",
      "essay_id": "essay-0001",
      "previous_state": "uploaded",
      "new_state": "spellchecked",
      "state_version": 2,
      "changed_at": 1767225600000000
    }
  }$json$);
