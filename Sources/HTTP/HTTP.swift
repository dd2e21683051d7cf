// HTTP: HTTP/1.1 as the roles speak it (RFC 9110, RFC 9112).
//
// The roles on the floor above call this room: the balancer's byte path uses `Parsing/` alone, the API and every role's
// own endpoints use the server, the router and the client. It calls Basics, Telemetry and, for anything that touches a
// socket, Reactor; nothing in `Parsing/` does, so it is tested and fuzzed as a pure function of bytes.
// A new header that code looks at by name gets a case in `KnownField`; a new reason to refuse a message one in
// `HeadError`; a new bound stands in `HTTPLimits`.
