// Package claimcheck is for consumers of events of which cdc-relay put a part
// into object storage: it fetches the object a reference names and verifies it.
//
//	store, err := claimcheck.Open(ctx, "s3://artifacts?region=eu-north-1") // import _ "gocloud.dev/blob/s3blob"
//	…
//	kind, _ := claimcheck.Of(header("claim_check"))
//	if kind == claimcheck.Payload {
//		ref, err := claimcheck.ParseRef(record.Value) // JSON; an Avro reader decodes into a Ref
//		value, err := store.Fetch(ctx, ref)           // what the record's value would have been
//	}
//
// It brings no storage driver with it: import the one of your bucket,
// gocloud.dev/blob/s3blob, gcsblob, azureblob or fileblob.
package claimcheck
