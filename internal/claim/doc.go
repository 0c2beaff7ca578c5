// Package claim puts the blobs of a batch into object storage before the Kafka
// transaction that refers to them begins, through gocloud.dev/blob: S3, GCS,
// Azure, or a folder.
//
// An object's key is made of its content, so a batch that is tried again, after
// a crash or for a replay, finds its objects there already. Nothing is ever
// deleted here: how long objects live is a rule of the bucket.
//
// What cannot be stored now is an error that restarts the pipeline; what the
// storage refuses for good is a Fault that stops it and says what to do.
package claim
