-- The outbox of class_management_service, as its polling worker left it: the envelope as json, with the topic and the headers in it.
-- As pg_dump --column-inserts prints database class_management.

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
    VALUES ('fb23b087-4a1b-57b7-b806-018f588716d1', 'class-0', 'class', 'class.roster.updated', '{"event_id": "44f29f39-5f66-513a-b2d4-d1502764e383", "event_type": "class.roster.updated", "event_timestamp": "2025-08-01T09:00:00.123456Z", "schema_version": 1, "source_service": "class_management_service", "correlation_id": "733b6ae9-3bb2-5cf5-808c-ea056e9a732d", "metadata": {"ref": "dump-class_management-0"}, "data": {"class_id": "class-0", "name": "Klass 7", "students": 24}, "topic": "huleedu.class.roster.updated.v1"}', 'class-0', '2025-08-01 09:00:00.2+00', '2025-08-01 09:00:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('16416a46-dc18-50f4-b133-fc24eb056aca', 'class-1', 'class', 'class.roster.updated', '{"event_id": "8ace283a-9693-5e60-bc4b-b39ec3861c4b", "event_type": "class.roster.updated", "event_timestamp": "2025-08-01T09:01:00.123456Z", "schema_version": 1, "source_service": "class_management_service", "correlation_id": "2eadc951-f19b-5762-a24b-a3512bdbcd53", "metadata": {"ref": "dump-class_management-1"}, "data": {"class_id": "class-1", "name": "\u00c5k 9 B", "students": 25}, "topic": "huleedu.class.roster.updated.v1", "headers": {"trace_id": "74cd8531fba25aadbff67aa3167b89b2", "source_service": "class_management_service"}}', 'class-1', '2025-08-01 09:01:00.2+00', '2025-08-01 09:01:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('273c9f21-1be9-5446-b172-31a09097560b', 'class-0', 'class', 'class.roster.updated', '{"event_id": "09f5ddcd-3218-5188-81e6-24f5a6a86984", "event_type": "class.roster.updated", "event_timestamp": "2025-08-01T09:02:00.123456Z", "schema_version": 1, "source_service": "class_management_service", "correlation_id": "1bed6c81-7ddc-5c9e-8a9e-2afbe0d800c6", "metadata": {"ref": "dump-class_management-2"}, "data": {"class_id": "class-0", "name": "Klass 7", "students": 26}, "topic": "huleedu.class.roster.updated.v1"}', NULL, '2025-08-01 09:02:00.2+00', '2025-08-01 09:02:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('ebfa8816-5d59-5002-be95-68bc36ad25eb', 'class-1', 'class', 'class.roster.updated', '{"event_id": "1e744003-88d5-5c48-ab56-1229b360658b", "event_type": "class.roster.updated", "event_timestamp": "2025-08-01T09:03:00.123456Z", "schema_version": 1, "source_service": "class_management_service", "correlation_id": "a23be881-4c17-51ce-a0d9-b09c57cbb283", "metadata": {"ref": "dump-class_management-3"}, "data": {"class_id": "class-1", "name": "\u00c5k 9 B", "students": 27}, "topic": "huleedu.class.roster.updated.v1", "headers": {"trace_id": "cd77ec90b42b53c4bb9293d44f7439dc", "source_service": "class_management_service"}}', 'class-1', '2025-08-01 09:03:00.2+00', '2025-08-01 09:03:02.5+00', 1, 'Failed to publish event to Kafka: KafkaTimeoutError');
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('1139508d-df20-51dd-a6dc-cad49789265e', 'class-0', 'class', 'class.roster.updated', '{"event_id": "bdd984a8-2782-5c3d-a4db-b4fedf0408f5", "event_type": "class.roster.updated", "event_timestamp": "2025-08-01T09:04:00.123456Z", "schema_version": 1, "source_service": "class_management_service", "correlation_id": "ea577ddc-f322-5d53-ae37-04a76f087bf6", "metadata": {"ref": "dump-class_management-4"}, "data": {"class_id": "class-0", "name": "Klass 7", "students": 28}, "topic": "huleedu.class.roster.updated.v1"}', 'class-0', '2025-08-01 09:04:00.2+00', '2025-08-01 09:04:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('cc4be234-f743-5afa-b2f4-fb1ffefbd92c', 'class-1', 'class', 'class.roster.updated', '{"event_id": "70796c41-b7c2-5c44-bc94-9875f9ed5d77", "event_type": "class.roster.updated", "event_timestamp": "2025-08-01T09:05:00.123456Z", "schema_version": 1, "source_service": "class_management_service", "correlation_id": "8fc226e2-bde0-5ba2-8f4d-f727a545eba0", "metadata": {"ref": "dump-class_management-5"}, "data": {"class_id": "class-1", "name": "\u00c5k 9 B", "students": 29}, "topic": "huleedu.class.roster.updated.v1", "headers": {"trace_id": "40bfd7c185d05b1f8b7b9d706d9c71c7", "source_service": "class_management_service"}}', 'class-1', '2025-08-01 09:05:00.2+00', NULL, 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, created_at, published_at, retry_count, last_error)
    VALUES ('34d79a0e-1882-5c84-9141-b1276b506bbd', 'class-0', 'class', 'class.roster.updated', '{"event_id": "f99e8391-fe3c-5af4-b7b0-b6c53a33faa2", "event_type": "class.roster.updated", "event_timestamp": "2025-08-01T09:06:00.123456Z", "schema_version": 1, "source_service": "class_management_service", "correlation_id": "8b71d9bf-dcb8-597b-8f9d-bac5fb88c1ee", "metadata": {"ref": "dump-class_management-6"}, "data": {"class_id": "class-0", "name": "Klass 7", "students": 30}, "topic": "huleedu.class.roster.updated.v1"}', 'class-0', '2025-08-01 09:06:00.2+00', NULL, 0, NULL);

ALTER TABLE ONLY public.event_outbox ADD CONSTRAINT event_outbox_pkey PRIMARY KEY (id);
CREATE INDEX ix_event_outbox_unpublished ON public.event_outbox USING btree (published_at, created_at) WHERE (published_at IS NULL);
CREATE INDEX ix_event_outbox_aggregate ON public.event_outbox USING btree (aggregate_type, aggregate_id);
