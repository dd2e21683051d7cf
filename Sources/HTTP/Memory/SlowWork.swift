import Basics
import Reactor

/// Bytes that are held for a slow peer, as a budget sees them.
protocol SlowWork: AnyObject {
  /// How many.
  var bytes: Int { get }
  /// Where it stands in the budget's list; the budget's own.
  var position: Int { get set }
  /// How fast the peer is, in bytes a second.
  func pace(at now: MonotonicTime) -> Double
  /// Parts with the peer; the bytes come back at once, or when what waits for the peer has ended.
  func shed(on reactor: isolated Reactor)
}

/// Whoever holds bytes for a slow peer.
protocol SlowHolder: AnyObject {
  /// Gives up the peer, and what is held for it.
  func shed(on reactor: isolated Reactor)
}
