// Balancer: the door of the system, a non-blocking reverse proxy that spreads requests over backends.
//
// The executable fills a `BalancerConfiguration` and calls `BalancerProcess`; this room calls `Exchange` and
// `Balancing` for every decision (what comes next, which backend, whether at all), `VersionedStore` for where keys are,
// `Backends` for which servers there are and how they are, `HTTPSyntax` to understand messages, and `Reactor` to move
// bytes. What it does itself is perform.
//
//   Client/    `HTTP1Session`: a client's connection, which holds the exchange and runs its steps
//   Keys/      which requests are for keys, and which server has theirs
//   Upstream/  `HTTP1Link`: a connection to a backend, and the pool of those that wait for work
//   Proxy/     what the sessions of one reactor share; `HeadRewriting` is what becomes of a head on its way
//   Admin/     the balancer's own endpoints, ordinary async handlers; with the checks on a reactor of their own
//
// A new endpoint is a route in `AdminRoutes`; a new field on every proxied message belongs into `HeadRewriting`; a new
// bound into `BalancerLimits`, a new deadline into `ExchangeTimes`.
