import Synchronization

/// How long a backend keeps unused connections, learned from those it closed and those that lived: a request sent at
/// the very moment when the backend closes is the one that is lost. So the last part of that time is left unused.
///
/// A backend that is restarted closes connections of any age, which looks like a short time; connections that then
/// live longer prove it wrong.
public final class IdleLifetime: Sendable {
  /// Closed sooner than this, a connection was not closed for being unused, but because its backend was stopped.
  static let leastMs: UInt64 = 200
  private let learnedMs = Atomic<UInt64>(.max)

  /// Nothing is known yet.
  public init() {}

  /// For how many milliseconds an unused connection may still be used: four fifths of what is known.
  public var usableMs: UInt64 {
    let learned = learnedMs.load(ordering: .relaxed)
    return learned == .max ? .max : learned * 4 / 5
  }

  /// The backend closed a connection that was unused for `ageMs`.
  public func closed(afterMs ageMs: UInt64) {
    guard ageMs >= IdleLifetime.leastMs, ageMs < learnedMs.load(ordering: .relaxed) else { return }
    learnedMs.store(ageMs, ordering: .relaxed)
  }

  /// A connection that was unused for `ageMs` is still open.
  public func survived(_ ageMs: UInt64) {
    let learned = learnedMs.load(ordering: .relaxed)
    if learned != .max, ageMs > learned { learnedMs.store(ageMs, ordering: .relaxed) }
  }

  /// The backend has said how long it keeps them (`Keep-Alive: timeout=`).
  public func announced(_ seconds: UInt64) {
    let ms = min(seconds, 86_400) * 1000
    if ms < learnedMs.load(ordering: .relaxed) { learnedMs.store(ms, ordering: .relaxed) }
  }
}
