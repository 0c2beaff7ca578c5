-- The outbox of batch_orchestrator_service, as its polling worker left it: the envelope as json, with the topic and the headers in it.
-- As pg_dump --column-inserts prints database batch_orchestrator.

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

CREATE TABLE public.event_outbox (
    id uuid NOT NULL,
    aggregate_id character varying(255) NOT NULL,
    aggregate_type character varying(100) NOT NULL,
    event_type character varying(255) NOT NULL,
    event_data json NOT NULL,
    event_key character varying(255),
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    published_at timestamp with time zone,
    retry_count integer DEFAULT 0 NOT NULL,
    last_error text
);

INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('807fc288-6bc9-5808-bdc9-1cc5f269f5c1', 'batch-0', 'batch', 'batch.phase.initiated', '{"event_id": "f9907e09-0dca-5852-b520-b83c812aa662", "event_type": "batch.phase.initiated", "event_timestamp": "2025-08-01T09:00:00.123456Z", "schema_version": 1, "source_service": "batch_orchestrator_service", "correlation_id": "cb55e869-b947-52c1-b2e3-c74c83a2b873", "metadata": {"ref": "dump-batch_orchestrator-0"}, "data": {"batch_id": "batch-0", "phase": "cj_assessment", "essays": 12}, "topic": "huleedu.batch.phase.initiated.v1"}', 'batch-0', '2025-08-01 09:00:00.2+00', '2025-08-01 09:00:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('c55ffdc5-7f1f-59b3-a283-5b4e86db7c6a', 'batch-1', 'batch', 'batch.phase.initiated', '{"event_id": "b7dcfc07-8d99-5dcb-8f33-b20112b53d9b", "event_type": "batch.phase.initiated", "event_timestamp": "2025-08-01T09:01:00.123456Z", "schema_version": 1, "source_service": "batch_orchestrator_service", "correlation_id": "73f7bd50-c5c1-5aa5-b14f-ab780b14ed10", "metadata": {"ref": "dump-batch_orchestrator-1"}, "data": {"batch_id": "batch-1", "phase": "cj_assessment", "essays": 12}, "topic": "huleedu.batch.phase.initiated.v1", "headers": {"trace_id": "878b8f21800658cb80823a5f264bdafe", "source_service": "batch_orchestrator_service"}}', 'batch-1', '2025-08-01 09:01:00.2+00', '2025-08-01 09:01:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('f7862abb-0421-593b-8841-e786c61fee3b', 'batch-0', 'batch', 'batch.phase.initiated', '{"event_id": "f025d19f-623a-5924-a6ef-29d7ae5425aa", "event_type": "batch.phase.initiated", "event_timestamp": "2025-08-01T09:02:00.123456Z", "schema_version": 1, "source_service": "batch_orchestrator_service", "correlation_id": "2138747c-8176-5442-9ccc-6b9cf972f9d0", "metadata": {"ref": "dump-batch_orchestrator-2"}, "data": {"batch_id": "batch-0", "phase": "cj_assessment", "essays": 12}, "topic": "huleedu.batch.phase.initiated.v1"}', NULL, '2025-08-01 09:02:00.2+00', '2025-08-01 09:02:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('1a28c256-0a68-5774-bf9e-0d05d6e0ab02', 'batch-1', 'batch', 'batch.phase.initiated', '{"event_id": "6373e6cf-4ecb-53b6-8c77-9d0d12d68638", "event_type": "batch.phase.initiated", "event_timestamp": "2025-08-01T09:03:00.123456Z", "schema_version": 1, "source_service": "batch_orchestrator_service", "correlation_id": "271e9d12-d218-5bb1-a576-f4eae27ba8b3", "metadata": {"ref": "dump-batch_orchestrator-3"}, "data": {"batch_id": "batch-1", "phase": "cj_assessment", "essays": 12}, "topic": "huleedu.batch.phase.initiated.v1", "headers": {"trace_id": "b0692fbadd4c57ad83d194ae044f088d", "source_service": "batch_orchestrator_service"}}', 'batch-1', '2025-08-01 09:03:00.2+00', '2025-08-01 09:03:02.5+00', 1, 'Failed to publish event to Kafka: KafkaTimeoutError');
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('9ca05f14-32d6-5a43-a1fe-f5138d9ca0e1', 'batch-0', 'batch', 'batch.phase.initiated', '{"event_id": "0ffac9a6-416c-5eae-96a6-9c85572e910d", "event_type": "batch.phase.initiated", "event_timestamp": "2025-08-01T09:04:00.123456Z", "schema_version": 1, "source_service": "batch_orchestrator_service", "correlation_id": "ced2c8ec-e20e-573d-842f-76f0325d2a74", "metadata": {"ref": "dump-batch_orchestrator-4"}, "data": {"batch_id": "batch-0", "phase": "cj_assessment", "essays": 12}, "topic": "huleedu.batch.phase.initiated.v1"}', 'batch-0', '2025-08-01 09:04:00.2+00', '2025-08-01 09:04:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('2d32af00-953a-518f-b173-64c7d7c689dd', 'batch-1', 'batch', 'batch.phase.initiated', '{"event_id": "c231fe5d-364e-58e3-a79a-c5c28532bc13", "event_type": "batch.phase.initiated", "event_timestamp": "2025-08-01T09:05:00.123456Z", "schema_version": 1, "source_service": "batch_orchestrator_service", "correlation_id": "7dc5dbbf-d1de-5b26-badb-8c2689ee809e", "metadata": {"ref": "dump-batch_orchestrator-5"}, "data": {"batch_id": "batch-1", "phase": "cj_assessment", "essays": 12}, "topic": "huleedu.batch.phase.initiated.v1", "headers": {"trace_id": "dd47c9e8b2475172a108dc012557b4ab", "source_service": "batch_orchestrator_service"}}', 'batch-1', '2025-08-01 09:05:00.2+00', NULL, 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('5a7c8907-7e29-5fd9-8dc9-ad6b4f0e75c4', 'batch-0', 'batch', 'batch.phase.initiated', '{"event_id": "28e51922-d123-56f5-9486-669e0dc5f793", "event_type": "batch.phase.initiated", "event_timestamp": "2025-08-01T09:06:00.123456Z", "schema_version": 1, "source_service": "batch_orchestrator_service", "correlation_id": "073fa97c-fdd2-5692-aaff-b793024765f9", "metadata": {"ref": "dump-batch_orchestrator-6"}, "data": {"batch_id": "batch-0", "phase": "cj_assessment", "essays": 12}, "topic": "huleedu.batch.phase.initiated.v1"}', 'batch-0', '2025-08-01 09:06:00.2+00', NULL, 0, NULL);

ALTER TABLE ONLY public.event_outbox ADD CONSTRAINT event_outbox_pkey PRIMARY KEY (id);
CREATE INDEX ix_event_outbox_unpublished ON public.event_outbox USING btree (published_at, created_at) WHERE (published_at IS NULL);
CREATE INDEX ix_event_outbox_aggregate ON public.event_outbox USING btree (aggregate_type, aggregate_id);
