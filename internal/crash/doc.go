// Package crash names the points between two steps of the protocol, so that a
// test can hold the process at exactly one of them and let something happen: a
// SIGKILL, a broker that dies, another relay that takes over.
//
// In a binary built without the tag crashpoints, [Point] is an empty function
// and nothing of this package is left. With the tag, and with the variable
// CDC_RELAY_CRASH naming a Unix socket, each process connects to it at its first
// point and is then told, line by line:
//
//	arm NAME N   hold at the Nth time from now that NAME is reached
//	ready        the end of the first lines; until then the process waits
//	go NAME      go on
//
// It answers "at NAME" when it holds. Only the goroutine that reached the point
// is held; the rest of the process lives on. When the socket closes, everything
// goes on.
package crash
