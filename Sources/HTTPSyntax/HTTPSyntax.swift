// HTTPSyntax: what HTTP/1.1 messages look like (RFC 9110, RFC 9112), and nothing of how they travel.
//
// The balancer's byte path, the server and the client of `HTTP` read and write messages with it; it calls `Basics`
// alone. Nothing here opens a socket, reads a clock or keeps bytes: heads and bodies are ranges of the buffer that a
// caller owns, so everything is tested and fuzzed as a pure function of bytes.
//
//   Heads/    request and response heads, parsed in place
//   Bodies/   where a body stands in what has come, whatever its framing; and how it is framed anew
//   Grammar/  the words that both are made of
//
// A new header that code looks at by name gets a case in `KnownField`; a new reason to refuse a message one in
// `HeadError`; a new bound stands in `HTTPLimits`.
