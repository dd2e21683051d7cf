// Balancer: the door of the system, a non-blocking reverse proxy that spreads requests over backends.
//
// The executable fills a `BalancerConfiguration` and calls `BalancerProcess`; this room calls `Balancing` for every
// decision (which backend, whether at all), `HTTP` to understand messages, and `Reactor` to move bytes.
//
//   Proxy/   the byte path: a state machine for each client connection and one for each connection to a backend,
//            without tasks or allocation for a request. `HeadRewriting` is what becomes of a head on its way.
//   Admin/   the balancer's own endpoints, ordinary async handlers behind a router.
//   Health/  active checks of the backends, on the first reactor.
//
// A new endpoint is a route in `AdminRoutes`; a new field on every proxied message belongs into `HeadRewriting`; a new
// deadline or bound into `BalancerLimits`.
