//go:build no_azure

package claim

func azureError(error) (string, int) { return "", 0 }
