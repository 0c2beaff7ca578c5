//go:build !no_azure

package claim

import (
	"errors"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	_ "gocloud.dev/blob/azureblob" // azblob://
)

// azureError is the code and the HTTP status of an error of Azure; "" and 0: it
// is none.
func azureError(err error) (code string, status int) {
	if e, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return e.ErrorCode, e.StatusCode
	}
	return "", 0
}
