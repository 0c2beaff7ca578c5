-- The outbox of nlp_service, as its polling worker left it: the envelope as json, with the topic and the headers in it.
-- As pg_dump --column-inserts prints database nlp.

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
    VALUES ('82c8e87a-43fa-52b5-af3a-0a7b3664b162', 'essay-0', 'essay', 'essay.nlp.completed', '{"event_id": "2e1a86d0-9012-5f81-802a-677b0d77699e", "event_type": "essay.nlp.completed", "event_timestamp": "2025-08-01T09:00:00.123456Z", "schema_version": 1, "source_service": "nlp_service", "correlation_id": "21d368d0-1be7-58b9-a598-14a521404624", "metadata": {"ref": "dump-nlp-0"}, "data": {"essay_id": "essay-0", "batch_id": "batch-1", "mean_sentence_length": 14.25, "errors": 0}, "topic": "huleedu.essay.nlp.completed.v1"}', 'essay-0', '2025-08-01 09:00:00.2+00', '2025-08-01 09:00:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('816dbfb0-02d5-5a78-8857-a414fb5b19d4', 'essay-1', 'essay', 'essay.nlp.completed', '{"event_id": "86443134-0873-5e05-a6a4-a260fce7f3e8", "event_type": "essay.nlp.completed", "event_timestamp": "2025-08-01T09:01:00.123456Z", "schema_version": 1, "source_service": "nlp_service", "correlation_id": "288a319e-5cef-53a8-aeb7-0e3c8d3d7b10", "metadata": {"ref": "dump-nlp-1"}, "data": {"essay_id": "essay-1", "batch_id": "batch-1", "mean_sentence_length": 14.25, "errors": 1}, "topic": "huleedu.essay.nlp.completed.v1", "headers": {"trace_id": "aa4fc71781ca5c0489fc3f3fd95f5870", "source_service": "nlp_service"}}', 'essay-1', '2025-08-01 09:01:00.2+00', '2025-08-01 09:01:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('d2858a94-fe98-56bd-92b7-9a11a6a5ced9', 'essay-2', 'essay', 'essay.nlp.completed', '{"event_id": "b2fe8f71-0b51-5dbe-a6a9-dcac2d229543", "event_type": "essay.nlp.completed", "event_timestamp": "2025-08-01T09:02:00.123456Z", "schema_version": 1, "source_service": "nlp_service", "correlation_id": "d509d538-b042-578e-b206-3986c431622a", "metadata": {"ref": "dump-nlp-2"}, "data": {"essay_id": "essay-2", "batch_id": "batch-1", "mean_sentence_length": 14.25, "errors": 2}, "topic": "huleedu.essay.nlp.completed.v1"}', NULL, '2025-08-01 09:02:00.2+00', '2025-08-01 09:02:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('aceb3c26-434d-5261-914e-c4fa55ed148b', 'essay-0', 'essay', 'essay.nlp.completed', '{"event_id": "d2a952c5-3d81-5861-9abd-c7868134c54a", "event_type": "essay.nlp.completed", "event_timestamp": "2025-08-01T09:03:00.123456Z", "schema_version": 1, "source_service": "nlp_service", "correlation_id": "6b60fc7b-d711-541f-a3a0-d7c72a2597c3", "metadata": {"ref": "dump-nlp-3"}, "data": {"essay_id": "essay-0", "batch_id": "batch-1", "mean_sentence_length": 14.25, "errors": 3}, "topic": "huleedu.essay.nlp.completed.v1", "headers": {"trace_id": "81c4ef5abc6a52d29cca00d8f01cad91", "source_service": "nlp_service"}}', 'essay-0', '2025-08-01 09:03:00.2+00', '2025-08-01 09:03:02.5+00', 1, 'Failed to publish event to Kafka: KafkaTimeoutError');
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('cf2cf07a-348f-576c-8009-70cc62f8e248', 'essay-1', 'essay', 'essay.nlp.completed', '{"event_id": "e20d5e6f-87dc-5e2f-9507-4c74f373c83e", "event_type": "essay.nlp.completed", "event_timestamp": "2025-08-01T09:04:00.123456Z", "schema_version": 1, "source_service": "nlp_service", "correlation_id": "cb92b458-3455-5598-a31b-ba5d44b2a81a", "metadata": {"ref": "dump-nlp-4"}, "data": {"essay_id": "essay-1", "batch_id": "batch-1", "mean_sentence_length": 14.25, "errors": 4}, "topic": "huleedu.essay.nlp.completed.v1"}', 'essay-1', '2025-08-01 09:04:00.2+00', '2025-08-01 09:04:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('40b111e2-fc56-513d-8082-8d634bc3028b', 'essay-2', 'essay', 'essay.nlp.completed', '{"event_id": "f7d5f6d3-7d1b-5a2c-a991-d7a50ef90131", "event_type": "essay.nlp.completed", "event_timestamp": "2025-08-01T09:05:00.123456Z", "schema_version": 1, "source_service": "nlp_service", "correlation_id": "a1064168-8242-5b1e-b1e6-2343e6b52b55", "metadata": {"ref": "dump-nlp-5"}, "data": {"essay_id": "essay-2", "batch_id": "batch-1", "mean_sentence_length": 14.25, "errors": 5}, "topic": "huleedu.essay.nlp.completed.v1", "headers": {"trace_id": "6d99939bbf6a53b5b59246d6bb6c471f", "source_service": "nlp_service"}}', 'essay-2', '2025-08-01 09:05:00.2+00', NULL, 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('65d2c77b-91db-5c8a-9eec-86ec329673a8', 'essay-0', 'essay', 'essay.nlp.completed', '{"event_id": "f25a2df1-e401-5a04-ae06-1ecf33345be3", "event_type": "essay.nlp.completed", "event_timestamp": "2025-08-01T09:06:00.123456Z", "schema_version": 1, "source_service": "nlp_service", "correlation_id": "b6ae0552-1e30-5316-b171-e3ae491d79de", "metadata": {"ref": "dump-nlp-6"}, "data": {"essay_id": "essay-0", "batch_id": "batch-1", "mean_sentence_length": 14.25, "errors": 6}, "topic": "huleedu.essay.nlp.completed.v1"}', 'essay-0', '2025-08-01 09:06:00.2+00', NULL, 0, NULL);

ALTER TABLE ONLY public.event_outbox ADD CONSTRAINT event_outbox_pkey PRIMARY KEY (id);
CREATE INDEX ix_event_outbox_unpublished ON public.event_outbox USING btree (published_at, created_at) WHERE (published_at IS NULL);
CREATE INDEX ix_event_outbox_aggregate ON public.event_outbox USING btree (aggregate_type, aggregate_id);
