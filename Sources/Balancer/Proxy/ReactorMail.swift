import Backends
import Basics

/// What is told to a reactor from another thread.
enum ProxyOrder: Sendable {
  /// These are the backends from now on.
  case backends(BackendSet)
  /// Take no new connections, let requests in progress end within the span, and stop.
  case drain(within: TimeSpan)
}

/// Orders on their way to one reactor, in order.
struct ReactorMail: Sendable {
  let orders: AsyncStream<ProxyOrder>
  private let feed: AsyncStream<ProxyOrder>.Continuation

  init() {
    (orders, feed) = AsyncStream.makeStream(of: ProxyOrder.self)
  }

  func send(_ order: ProxyOrder) {
    feed.yield(order)
  }
}
