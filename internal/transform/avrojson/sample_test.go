package avrojson

// eventSchema is AssessmentResultEventV1 of the product with its named types
// inlined: the envelope, an array of records, enums, nullables, a map.
const eventSchema = `{"type":"record","name":"AssessmentResultEventV1","namespace":"huleedu.events","fields":[
 {"name":"event_id","type":{"type":"string","logicalType":"uuid"}},
 {"name":"event_type","type":"string","minLength":1},
 {"name":"event_timestamp","type":{"type":"long","logicalType":"timestamp-micros"}},
 {"name":"schema_version","type":"int","exclusiveMinimum":0},
 {"name":"source_service","type":"string"},
 {"name":"correlation_id","type":{"type":"string","logicalType":"uuid"}},
 {"name":"metadata","type":{"type":"map","values":"string"},"default":{}},
 {"name":"data","type":{"type":"record","name":"AssessmentResultV1","fields":[
  {"name":"cj_assessment_job_id","type":"string"},
  {"name":"batch_id","type":"string"},
  {"name":"entity_ref","type":"string"},
  {"name":"status","type":{"type":"enum","name":"AssessmentStatus","symbols":["COMPLETED","FAILED","PARTIAL"]}},
  {"name":"essay_results","type":{"type":"array","items":{"type":"record","name":"EssayResultV1","fields":[
   {"name":"essay_id","type":"string"},
   {"name":"normalized_score","type":"double","minimum":0,"maximum":1},
   {"name":"letter_grade","type":"string","pattern":"^[A-F][+-]?$"},
   {"name":"confidence_score","type":"double","minimum":0,"maximum":1},
   {"name":"confidence_label","type":{"type":"enum","name":"ConfidenceLabel","symbols":["HIGH","MID","LOW"]}},
   {"name":"bt_score","type":"double"},
   {"name":"rank","type":"int","exclusiveMinimum":0},
   {"name":"is_anchor","type":"boolean","default":false},
   {"name":"feedback_uri","type":["null","string"],"default":null},
   {"name":"metrics_uri","type":["null","string"],"default":null}]}}},
  {"name":"artifacts","type":{"type":"array","items":{"type":"record","name":"ArtifactRef","fields":[
   {"name":"type","type":{"type":"enum","name":"ArtifactType","symbols":["feedback_md","annotated_html","metrics_json"]}},
   {"name":"uri","type":"string"},
   {"name":"bytes","type":"long","minimum":0},
   {"name":"content_type","type":"string"},
   {"name":"sha256","type":"string","pattern":"^[0-9a-f]{64}$"},
   {"name":"ttl_sec","type":["null","int"],"default":null},
   {"name":"encryption","type":["null","string"],"default":null}]}},"default":[]}]}}]}`

// eventJSON is a document of eventSchema of about 1 KB, in the schema's order.
const eventJSON = `{"event_id":"7f1d2c36-0e5b-4b7a-9a55-6f0c8f1f2b11","event_type":"assessment.result.published","event_timestamp":"2025-03-01T10:15:30.123456Z","schema_version":1,"source_service":"cj_assessment_service","correlation_id":"0b8e7c1d-3f55-4d0e-8a77-bb0d3c9f4e21","metadata":{"tenant":"north","trace":"00-4bf92f3577b34da6a3ce929d0e0e4736"},"data":{"cj_assessment_job_id":"job-2025-000123","batch_id":"batch-77","entity_ref":"batch:77","status":"COMPLETED","essay_results":[{"essay_id":"essay-0001","normalized_score":0.8734523,"letter_grade":"A-","confidence_score":0.91,"confidence_label":"HIGH","bt_score":1.2345,"rank":1,"is_anchor":false,"feedback_uri":null,"metrics_uri":null},{"essay_id":"essay-0002","normalized_score":0.5,"letter_grade":"C","confidence_score":0.42,"confidence_label":"LOW","bt_score":-0.25,"rank":2,"is_anchor":true,"feedback_uri":"s3://bucket/f/2.md","metrics_uri":null}],"artifacts":[{"type":"feedback_md","uri":"s3://bucket/a/1.md","bytes":2048,"content_type":"text/markdown","sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","ttl_sec":null,"encryption":null}]}}`
