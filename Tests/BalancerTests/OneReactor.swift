@testable import Balancer
import Basics
import Glibc
import Reactor
import TestSupport

/// A balancer on the test's own reactor, and what is around it.
struct OneReactor {
  let proxy: ProxyReactor
  let address: SocketAddress
  let client: RawConnection
  let backend: RawBackend
}

/// Runs a balancer on the test's own reactor, with a client before it and a backend behind it that
/// answers once unless it has a `script`.
func onOneReactor<R: Sendable>(
  backendAt place: String = "127.0.0.1:0", _ configure: @escaping @Sendable (inout BalancerConfiguration) -> Void,
  script: @escaping RawBackend.Script = { connection, reactor in
    connection.send(RawBackend.ok, on: reactor)
    await connection.read(on: reactor)
  },
  run: @escaping @Sendable (OneReactor, isolated Reactor) async throws -> R
) async throws -> R {
  try await onReactor { reactor in
    let backend = RawBackend(script: script)
    let mail = ReactorMail()
    let configuration = testConfiguration([try backend.start(place, on: reactor)], configure)
    let proxy = ProxyReactor(BalancerShared(configuration, metrics: sharedMetrics, log: silentLog, mail: [mail]))
    for entry in proxy.backends.entries { _ = entry.backend.checkPassed(at: reactor.now.milliseconds) }
    let listening = try Socket.listen(on: configuration.listen)
    try proxy.start(adopting: listening, on: reactor)
    let orders = Task.immediate(executorPreference: reactor.queue) { await proxy.follow(mail, on: reactor) }

    let address = Socket.localAddress(listening)
    let client = try await RawConnection.connect(to: address, on: reactor)
    let around = OneReactor(proxy: proxy, address: address, client: client, backend: backend)
    let result = try await run(around, reactor)
    client.close(on: reactor)
    mail.send(.drain(within: .milliseconds(100)))
    await orders.value
    backend.stop(on: reactor)
    return result
  }
}
