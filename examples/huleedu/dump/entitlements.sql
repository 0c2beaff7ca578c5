-- The outbox of entitlements_service, as its polling worker left it: the envelope as jsonb, the topic in a column.
-- As pg_dump --column-inserts prints database entitlements.

SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;

CREATE TABLE public.event_outbox (
    id uuid NOT NULL,
    aggregate_id character varying(255) NOT NULL,
    aggregate_type character varying(100) NOT NULL,
    event_type character varying(255) NOT NULL,
    event_data jsonb NOT NULL,
    event_key character varying(255),
    topic character varying(255) NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    published_at timestamp with time zone,
    retry_count integer DEFAULT 0 NOT NULL,
    last_error text
);

INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, topic, created_at, published_at, retry_count, last_error)
    VALUES ('ac540b16-8a73-5ee1-9943-7d8fc0d14736', 'org-0', 'credit', 'entitlement.credit.consumed', '{"event_id": "388e60fb-99ea-54bd-88bc-d8c832bb5ba5", "event_type": "entitlement.credit.consumed", "event_timestamp": "2025-08-01T09:00:00.123456Z", "schema_version": 1, "source_service": "entitlements_service", "correlation_id": "8a8331f6-dca6-5117-9149-3d4cb0c6b653", "metadata": {"ref": "dump-entitlements-0"}, "data": {"subject_id": "org-0", "amount": 1, "balance": 100, "unlimited": false}, "headers": {"trace_id": "7d88b07beb8d570797312f0386294f15", "attempt": 0, "replayed": false}}', 'org-0', 'huleedu.entitlement.credit.consumed.v1', '2025-08-01 09:00:00.2+00', '2025-08-01 09:00:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, topic, created_at, published_at, retry_count, last_error)
    VALUES ('da982013-df8a-5a35-bd36-82c5285486c0', 'org-1', 'credit', 'entitlement.credit.consumed', '{"event_id": "61211716-2d6a-5dd2-bb04-9675283e7cac", "event_type": "entitlement.credit.consumed", "event_timestamp": "2025-08-01T09:01:00.123456Z", "schema_version": 1, "source_service": "entitlements_service", "correlation_id": "6b00a0ac-72e4-52dd-93cd-37f2c6858278", "metadata": {"ref": "dump-entitlements-1"}, "data": {"subject_id": "org-1", "amount": 2, "balance": 99, "unlimited": false}, "headers": {"trace_id": "889205a344395548a5859a11ef53bfe6", "attempt": 1, "replayed": false}}', 'org-1', 'huleedu.entitlement.credit.consumed.v1', '2025-08-01 09:01:00.2+00', '2025-08-01 09:01:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, topic, created_at, published_at, retry_count, last_error)
    VALUES ('c60b6924-4e98-57a4-a38d-1d6a64b0dee3', 'org-0', 'credit', 'entitlement.credit.consumed', '{"event_id": "762fa707-be75-57fe-934e-51bd7c296bd9", "event_type": "entitlement.credit.consumed", "event_timestamp": "2025-08-01T09:02:00.123456Z", "schema_version": 1, "source_service": "entitlements_service", "correlation_id": "970c548b-60a2-53c9-ace4-90ccb1a21bed", "metadata": {"ref": "dump-entitlements-2"}, "data": {"subject_id": "org-0", "amount": 3, "balance": 98, "unlimited": false}, "headers": {"trace_id": "7314e3bf8b5a5211a85e924ff0d9490e", "attempt": 2, "replayed": false}}', NULL, 'huleedu.entitlement.credit.consumed.v1', '2025-08-01 09:02:00.2+00', '2025-08-01 09:02:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, topic, created_at, published_at, retry_count, last_error)
    VALUES ('7f6a89ec-8c6e-5d7b-b8db-146cedf6a0f5', 'org-1', 'credit', 'entitlement.credit.consumed', '{"event_id": "c384affa-d891-5016-a9a1-5634e5155ad4", "event_type": "entitlement.credit.consumed", "event_timestamp": "2025-08-01T09:03:00.123456Z", "schema_version": 1, "source_service": "entitlements_service", "correlation_id": "3d978ab2-6f40-532b-84f2-f930bda621d1", "metadata": {"ref": "dump-entitlements-3"}, "data": {"subject_id": "org-1", "amount": 4, "balance": 97, "unlimited": false}, "headers": {"trace_id": "e6ff3d15c1a7536386d151e0384f28de", "attempt": 3, "replayed": false}}', 'org-1', 'huleedu.entitlement.credit.consumed.v1', '2025-08-01 09:03:00.2+00', '2025-08-01 09:03:02.5+00', 1, 'Failed to publish event to Kafka: KafkaTimeoutError');
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, topic, created_at, published_at, retry_count, last_error)
    VALUES ('8a8ceaa9-499c-51d5-ab03-3b0fb7cfb488', 'org-0', 'credit', 'entitlement.credit.consumed', '{"event_id": "63a9477e-e808-5b4a-8c44-af72ba174727", "event_type": "entitlement.credit.consumed", "event_timestamp": "2025-08-01T09:04:00.123456Z", "schema_version": 1, "source_service": "entitlements_service", "correlation_id": "a45536f0-7690-50aa-84bf-65abf50f59e7", "metadata": {"ref": "dump-entitlements-4"}, "data": {"subject_id": "org-0", "amount": 5, "balance": 96, "unlimited": false}, "headers": {"trace_id": "de55a1b7fe475753ad485388ed2ca45e", "attempt": 4, "replayed": true}}', 'org-0', 'huleedu.entitlement.credit.consumed.v1', '2025-08-01 09:04:00.2+00', '2025-08-01 09:04:02.5+00', 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, topic, created_at, published_at, retry_count, last_error)
    VALUES ('8b0da4be-2f79-53cc-a9d0-c9eefde449b3', 'org-1', 'credit', 'entitlement.credit.consumed', '{"event_id": "21422266-092a-511f-b57a-a76a5983a995", "event_type": "entitlement.credit.consumed", "event_timestamp": "2025-08-01T09:05:00.123456Z", "schema_version": 1, "source_service": "entitlements_service", "correlation_id": "abe5bffe-432e-5731-ad49-0813db9f62ab", "metadata": {"ref": "dump-entitlements-5"}, "data": {"subject_id": "org-1", "amount": 6, "balance": 95, "unlimited": false}, "headers": {"trace_id": "7ccf2b0bfa805acc87f963509da3b61f", "attempt": 5, "replayed": false}}', 'org-1', 'huleedu.entitlement.credit.consumed.v1', '2025-08-01 09:05:00.2+00', NULL, 0, NULL);
INSERT INTO public.event_outbox (id, aggregate_id, aggregate_type, event_type, event_data, event_key, topic, created_at, published_at, retry_count, last_error)
    VALUES ('36437de3-2116-55d3-b550-a2e6f6df780d', 'org-0', 'credit', 'entitlement.credit.consumed', '{"event_id": "2ca8d198-4e55-5ed1-98e7-3da57442d965", "event_type": "entitlement.credit.consumed", "event_timestamp": "2025-08-01T09:06:00.123456Z", "schema_version": 1, "source_service": "entitlements_service", "correlation_id": "9c5b9a7a-8f6d-58c1-b31d-774a426dab6a", "metadata": {"ref": "dump-entitlements-6"}, "data": {"subject_id": "org-0", "amount": 7, "balance": 94, "unlimited": false}, "headers": {"trace_id": "0d45a5027aaa513bbab3cefcb11009e2", "attempt": 6, "replayed": false}}', 'org-0', 'huleedu.entitlement.credit.consumed.v1', '2025-08-01 09:06:00.2+00', NULL, 0, NULL);

ALTER TABLE ONLY public.event_outbox ADD CONSTRAINT event_outbox_pkey PRIMARY KEY (id);
CREATE INDEX ix_event_outbox_unpublished ON public.event_outbox USING btree (published_at, created_at) WHERE (published_at IS NULL);
CREATE INDEX ix_event_outbox_aggregate ON public.event_outbox USING btree (aggregate_type, aggregate_id);
