-- The outbox of file_service, as its polling worker left it: the envelope as json, with the topic and the headers in it.
-- As pg_dump --column-inserts prints database file.

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
    VALUES ('f3525715-e4be-58e8-b5ac-08329155824c', 'file-0', 'file', 'file.content.provisioned', '{"event_id": "56db58bd-b6fb-5edc-afd6-d11f14511496", "event_type": "file.content.provisioned", "event_timestamp": "2025-08-01T09:00:00.123456Z", "schema_version": 1, "source_service": "file_service", "correlation_id": "d6344fd4-53b4-5a2d-9cdc-fa16524f2ef2", "metadata": {"ref": "dump-file-0"}, "data": {"file_upload_id": "file-0", "original_file_name": "uppsats \u00e5.docx", "text_storage_id": "81b8bb4a", "size": 10240}, "topic": "huleedu.file.content.provisioned.v1"}', 'file-0', '2025-08-01 09:00:00.2+00', '2025-08-01 09:00:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('43e3136f-735d-5f10-8f2d-0374ebc6941a', 'file-1', 'file', 'file.content.provisioned', '{"event_id": "d7a58ded-688d-5660-8a85-00384d291a8a", "event_type": "file.content.provisioned", "event_timestamp": "2025-08-01T09:01:00.123456Z", "schema_version": 1, "source_service": "file_service", "correlation_id": "94c92d30-1ff7-524a-8a96-6d105cb0d307", "metadata": {"ref": "dump-file-1"}, "data": {"file_upload_id": "file-1", "original_file_name": "uppsats \u00e5.docx", "text_storage_id": "43d819bd", "size": 10241}, "topic": "huleedu.file.content.provisioned.v1", "headers": {"trace_id": "6677a0f5492e5d4ebcf9398997fdf00b", "source_service": "file_service"}}', 'file-1', '2025-08-01 09:01:00.2+00', '2025-08-01 09:01:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('2b8bd1de-ba87-5402-b00f-3487f4320af2', 'file-2', 'file', 'file.content.provisioned', '{"event_id": "124f77c3-4495-5df7-a085-b0498d17f0e7", "event_type": "file.content.provisioned", "event_timestamp": "2025-08-01T09:02:00.123456Z", "schema_version": 1, "source_service": "file_service", "correlation_id": "ff6a300a-5938-5509-b068-b3d22da1e38c", "metadata": {"ref": "dump-file-2"}, "data": {"file_upload_id": "file-2", "original_file_name": "uppsats \u00e5.docx", "text_storage_id": "cd96ca29", "size": 10242}, "topic": "huleedu.file.content.provisioned.v1"}', NULL, '2025-08-01 09:02:00.2+00', '2025-08-01 09:02:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('68a9be94-c8b1-58fb-b341-ff32bc33af6e', 'file-0', 'file', 'file.content.provisioned', '{"event_id": "07a8ed25-1282-571b-bdb1-ab03ac39c434", "event_type": "file.content.provisioned", "event_timestamp": "2025-08-01T09:03:00.123456Z", "schema_version": 1, "source_service": "file_service", "correlation_id": "ca78910f-7804-58c8-a8e6-6ac8599726b8", "metadata": {"ref": "dump-file-3"}, "data": {"file_upload_id": "file-0", "original_file_name": "uppsats \u00e5.docx", "text_storage_id": "9bcfd14e", "size": 10243}, "topic": "huleedu.file.content.provisioned.v1", "headers": {"trace_id": "2530a2d208205d908dbe769a935f492f", "source_service": "file_service"}}', 'file-0', '2025-08-01 09:03:00.2+00', '2025-08-01 09:03:02.5+00', 1, 'Failed to publish event to Kafka: KafkaTimeoutError');
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('f443e4af-011b-55d4-88a8-72b5cb3c6428', 'file-1', 'file', 'file.content.provisioned', '{"event_id": "5312d70c-d0f6-59dd-8a75-3b84789db464", "event_type": "file.content.provisioned", "event_timestamp": "2025-08-01T09:04:00.123456Z", "schema_version": 1, "source_service": "file_service", "correlation_id": "50c98f14-a7e4-539e-abf8-e931bd0a7062", "metadata": {"ref": "dump-file-4"}, "data": {"file_upload_id": "file-1", "original_file_name": "uppsats \u00e5.docx", "text_storage_id": "7d4300bd", "size": 10244}, "topic": "huleedu.file.content.provisioned.v1"}', 'file-1', '2025-08-01 09:04:00.2+00', '2025-08-01 09:04:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('eefb8aca-d9f6-5155-93b5-1477e9317464', 'file-2', 'file', 'file.content.provisioned', '{"event_id": "fb1ec343-b2ef-5725-b5c5-4ae68f2ddef4", "event_type": "file.content.provisioned", "event_timestamp": "2025-08-01T09:05:00.123456Z", "schema_version": 1, "source_service": "file_service", "correlation_id": "e075d0e3-97e9-5d6d-9f86-0ad4ab519673", "metadata": {"ref": "dump-file-5"}, "data": {"file_upload_id": "file-2", "original_file_name": "uppsats \u00e5.docx", "text_storage_id": "3f94d37e", "size": 10245}, "topic": "huleedu.file.content.provisioned.v1", "headers": {"trace_id": "dac9b532b32c5d2c8bc2c0f3f94f4e8b", "source_service": "file_service"}}', 'file-2', '2025-08-01 09:05:00.2+00', NULL, 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('ac4ec7e7-c664-58d6-aacc-c70790fe09d8', 'file-0', 'file', 'file.content.provisioned', '{"event_id": "0a554051-5f5a-57f3-8c45-b7cf60f75692", "event_type": "file.content.provisioned", "event_timestamp": "2025-08-01T09:06:00.123456Z", "schema_version": 1, "source_service": "file_service", "correlation_id": "84e5cf61-775c-58fb-a028-3d9f9b917459", "metadata": {"ref": "dump-file-6"}, "data": {"file_upload_id": "file-0", "original_file_name": "uppsats \u00e5.docx", "text_storage_id": "5e55a97a", "size": 10246}, "topic": "huleedu.file.content.provisioned.v1"}', 'file-0', '2025-08-01 09:06:00.2+00', NULL, 0, NULL);

ALTER TABLE ONLY public.event_outbox ADD CONSTRAINT event_outbox_pkey PRIMARY KEY (id);
CREATE INDEX ix_event_outbox_unpublished ON public.event_outbox USING btree (published_at, created_at) WHERE (published_at IS NULL);
CREATE INDEX ix_event_outbox_aggregate ON public.event_outbox USING btree (aggregate_type, aggregate_id);
