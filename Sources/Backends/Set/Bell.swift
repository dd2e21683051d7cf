/// Tells one task that something has changed, from any thread. What it has not heard yet is told once.
struct Bell: Sendable {
  let rings: AsyncStream<Void>
  private let feed: AsyncStream<Void>.Continuation

  init() {
    (rings, feed) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
  }

  func ring() {
    feed.yield()
  }

  /// Nothing will be told any more.
  func end() {
    feed.finish()
  }
}
