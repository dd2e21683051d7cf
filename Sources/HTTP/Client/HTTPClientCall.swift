import Reactor

/// One request of an `HTTPClient`, for whoever may not want its answer any more: to wait on would keep a connection,
/// and the server at work. It lives on its reactor.
public final class HTTPClientCall {
  /// What it goes over at present.
  weak var stream: Stream?
  private(set) var isGivenUp = false

  /// A request that was not sent yet.
  public init() {}

  /// Ends it as if its deadline had passed.
  public func giveUp() {
    isGivenUp = true
    stream?.giveUpReading()
  }
}
