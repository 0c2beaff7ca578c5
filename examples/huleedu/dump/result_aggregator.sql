-- The outbox of result_aggregator_service, as its polling worker left it: the envelope as json, with the topic and the headers in it.
-- As pg_dump --column-inserts prints database result_aggregator.

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
    VALUES ('1ffb4598-6183-5c00-bff8-377a4be21bbe', 'batch-0', 'batch', 'batch.result.ready', '{"event_id": "d1e06cd4-3b9a-54c0-a19d-1fabad3d9c02", "event_type": "batch.result.ready", "event_timestamp": "2025-08-01T09:00:00.123456Z", "schema_version": 1, "source_service": "result_aggregator_service", "correlation_id": "093504cd-39a1-5072-aa74-8609307848a4", "metadata": {"ref": "dump-result_aggregator-0"}, "data": {"batch_id": "batch-0", "overall_status": "COMPLETED", "average_score": 0.8125}, "topic": "huleedu.batch.result.ready.v1"}', 'batch-0', '2025-08-01 09:00:00.2+00', '2025-08-01 09:00:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('fd5e3a64-20f5-5ca5-9481-f31100d2bade', 'batch-1', 'batch', 'batch.result.ready', '{"event_id": "ed9b34d2-d9d3-57af-a761-3182f0269b85", "event_type": "batch.result.ready", "event_timestamp": "2025-08-01T09:01:00.123456Z", "schema_version": 1, "source_service": "result_aggregator_service", "correlation_id": "4216272e-861b-52ca-a5cf-df991b079ea7", "metadata": {"ref": "dump-result_aggregator-1"}, "data": {"batch_id": "batch-1", "overall_status": "COMPLETED", "average_score": 0.8125}, "topic": "huleedu.batch.result.ready.v1", "headers": {"trace_id": "2b20e0d4b9925c74935ee96fcfb506cf", "source_service": "result_aggregator_service"}}', 'batch-1', '2025-08-01 09:01:00.2+00', '2025-08-01 09:01:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('2469ad3d-2047-56dc-a6fa-4b21c429fa3c', 'batch-0', 'batch', 'batch.result.ready', '{"event_id": "2be6a7fb-b0a4-5865-af98-04f36010679e", "event_type": "batch.result.ready", "event_timestamp": "2025-08-01T09:02:00.123456Z", "schema_version": 1, "source_service": "result_aggregator_service", "correlation_id": "23de131c-811f-5228-9f51-94f9d54b93d9", "metadata": {"ref": "dump-result_aggregator-2"}, "data": {"batch_id": "batch-0", "overall_status": "COMPLETED", "average_score": 0.8125}, "topic": "huleedu.batch.result.ready.v1"}', NULL, '2025-08-01 09:02:00.2+00', '2025-08-01 09:02:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('2a058f23-c393-5b51-a481-60c1997e1073', 'batch-1', 'batch', 'batch.result.ready', '{"event_id": "172d7dbb-959a-55d7-81ec-87d7c6263166", "event_type": "batch.result.ready", "event_timestamp": "2025-08-01T09:03:00.123456Z", "schema_version": 1, "source_service": "result_aggregator_service", "correlation_id": "dd818e7c-1f74-5a28-8118-e2b0c32a296a", "metadata": {"ref": "dump-result_aggregator-3"}, "data": {"batch_id": "batch-1", "overall_status": "COMPLETED", "average_score": 0.8125}, "topic": "huleedu.batch.result.ready.v1", "headers": {"trace_id": "313e478050a751159d729c8ff596ce35", "source_service": "result_aggregator_service"}}', 'batch-1', '2025-08-01 09:03:00.2+00', '2025-08-01 09:03:02.5+00', 1, 'Failed to publish event to Kafka: KafkaTimeoutError');
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('895f9f1d-8291-51ba-ad44-512a08dcbc48', 'batch-0', 'batch', 'batch.result.ready', '{"event_id": "6d132682-ae3b-5696-abae-6f17b085e1eb", "event_type": "batch.result.ready", "event_timestamp": "2025-08-01T09:04:00.123456Z", "schema_version": 1, "source_service": "result_aggregator_service", "correlation_id": "559a3db8-1b6d-58ec-94e6-3732540c9e54", "metadata": {"ref": "dump-result_aggregator-4"}, "data": {"batch_id": "batch-0", "overall_status": "COMPLETED", "average_score": 0.8125}, "topic": "huleedu.batch.result.ready.v1"}', 'batch-0', '2025-08-01 09:04:00.2+00', '2025-08-01 09:04:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('2d74ffe8-d3b7-5225-9603-15470367cf8b', 'batch-1', 'batch', 'batch.result.ready', '{"event_id": "b8012376-8ed4-5608-97fa-00d0f9d28f98", "event_type": "batch.result.ready", "event_timestamp": "2025-08-01T09:05:00.123456Z", "schema_version": 1, "source_service": "result_aggregator_service", "correlation_id": "7b41847f-2f7d-57b9-ab92-788570eb2563", "metadata": {"ref": "dump-result_aggregator-5"}, "data": {"batch_id": "batch-1", "overall_status": "COMPLETED", "average_score": 0.8125}, "topic": "huleedu.batch.result.ready.v1", "headers": {"trace_id": "21083631f01a59958eb8421c7279457d", "source_service": "result_aggregator_service"}}', 'batch-1', '2025-08-01 09:05:00.2+00', NULL, 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('70c3cde8-6d7c-58b0-aeb7-75cf2f61bcb8', 'batch-0', 'batch', 'batch.result.ready', '{"event_id": "8406b501-dc2e-54f2-9287-4129182a66f3", "event_type": "batch.result.ready", "event_timestamp": "2025-08-01T09:06:00.123456Z", "schema_version": 1, "source_service": "result_aggregator_service", "correlation_id": "c7fb7f76-f389-58fa-a442-32a090159325", "metadata": {"ref": "dump-result_aggregator-6"}, "data": {"batch_id": "batch-0", "overall_status": "COMPLETED", "average_score": 0.8125}, "topic": "huleedu.batch.result.ready.v1"}', 'batch-0', '2025-08-01 09:06:00.2+00', NULL, 0, NULL);

ALTER TABLE ONLY public.event_outbox ADD CONSTRAINT event_outbox_pkey PRIMARY KEY (id);
CREATE INDEX ix_event_outbox_unpublished ON public.event_outbox USING btree (published_at, created_at) WHERE (published_at IS NULL);
CREATE INDEX ix_event_outbox_aggregate ON public.event_outbox USING btree (aggregate_type, aggregate_id);
