// Basics: the small tools that every other room uses: bytes, time, randomness, queues, JSON.
//
// Called by everybody, calls nobody but the C shims. A thing belongs here when at least two rooms need it, when it
// knows nothing of sockets, HTTP, PostgreSQL or Redis, and when it can be tested without starting anything.
// One idea a file; what holds bytes stands in `Bytes/`, JSON for request paths in `JSON/`.
