package event

import (
	"encoding/hex"
	"time"
)

// Blob is an object that a record of its Batch refers to. It has to be in
// storage before the transaction of the batch commits.
type Blob struct {
	Sum         [32]byte // SHA-256 of Data
	Data        []byte   // lies in the Batch
	ContentType string
	TTL         time.Duration // how long it is needed from now; 0: for ever
}

// Key is where the object lies below the prefix: sha256/<aa>/<64 hexadecimal
// digits>, aa being the first two of them. The same content has one place, so a
// batch that is tried again writes what is there already.
func (b *Blob) Key() string { return string(AppendBlobKey(nil, &b.Sum)) }

// AppendBlobKey appends the key of the object with that SHA-256.
func AppendBlobKey(dst []byte, sum *[32]byte) []byte {
	dst = append(dst, "sha256/"...)
	dst = hex.AppendEncode(dst, sum[:1])
	dst = append(dst, '/')
	return hex.AppendEncode(dst, sum[:])
}

// BlobBytes are the bytes of the blobs, which Bytes counts too.
func (b *Batch) BlobBytes() int {
	n := 0
	for i := range b.Blobs {
		n += len(b.Blobs[i].Data)
	}
	return n
}
