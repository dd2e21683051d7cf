// HTTP: HTTP/1.1 as the roles speak it: a server with a router, and a client.
//
// The roles on the floor above call this room: the API and every role's own endpoints use the server and the router,
// tools and health checks the client; the balancer's byte path is its own. It calls `HTTPSyntax` for what messages look
// like, `Reactor` for anything that touches a socket, Basics and Telemetry.
//
//   Messages/  requests and responses as handlers see them, and problems
//   Server/    connections: reading within limits and deadlines, answering in order
//   Routing/   from a path to an action, past whoever watches over it
//   Client/    one request, one response, connections kept
//   Memory/    how much may be held for peers, and whom to part with when it is too much
//
// A new route is an `on` of the role that has it; a new bound of the server stands in `HTTPServerLimits.swift`.
