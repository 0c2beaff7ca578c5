//go:build !no_gcs

package claim

import (
	"errors"

	_ "gocloud.dev/blob/gcsblob" // gs://
	"google.golang.org/api/googleapi"
)

// gcsStatus is the HTTP status of an error of Google Cloud; 0: it is none.
func gcsStatus(err error) int {
	if e, ok := errors.AsType[*googleapi.Error](err); ok {
		return e.Code
	}
	return 0
}
