// Package fault is a fake network: a TCP proxy between a client and a real
// server that does to connections what networks and dead machines do.
//
// A [Proxy] forwards byte by byte until it is told otherwise: [Proxy.Cut]
// resets connections, [Proxy.Refuse] resets new ones, [Proxy.Freeze] makes a
// half-open peer (nothing arrives, nothing is closed) until [Proxy.Thaw], and
// [Proxy.Vanish] makes one for ever.
//
// A proxy of [NewKafka] also follows the frames of Kafka's protocol, without
// changing them, and can hit one request exactly: [Proxy.DropAnswer] lets the
// broker decide and keeps the client from learning it, [Proxy.HoldRequest]
// keeps a request from the broker for as long as the test wants, and [Late] keeps
// one until its client has asked again, and delivers it then. [Proxy.Delay] hits
// requests, answers and connections at random.
//
// What it cannot imitate: a peer's kernel that is gone, too. Bytes sent to a
// frozen proxy are acknowledged by this machine's kernel until its buffers are
// full, so TCP's own timeouts (TCP_USER_TIMEOUT, keepalive) do not fire here;
// what fires is what the programs at both ends do about silence.
package fault
