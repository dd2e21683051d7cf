// HTTP: HTTP/1.1 as the roles speak it (RFC 9110, RFC 9112).
//
// The roles on the floor above call this room: the balancer's byte path uses `Parsing/` alone, the API and every role's
// own endpoints use the server and the router, tools and health checks the client. It calls Basics, Telemetry and, for
// anything that touches a socket, Reactor; nothing in `Parsing/` does, so it is tested and fuzzed as a pure function of
// bytes.
//
//   Parsing/   heads and chunked bodies, in place; `Grammar/` has the words they are made of
//   Messages/  requests and responses as handlers see them, problems, request ids
//   Server/    connections: reading within limits and deadlines, answering in order
//   Routing/   from a path to an action
//   Client/    one request, one response, connections kept
//   Access/    who may make admin calls
//
// A new header that code looks at by name gets a case in `KnownField`; a new reason to refuse a message one in
// `HeadError`; a new bound stands in `HTTPLimits`.
