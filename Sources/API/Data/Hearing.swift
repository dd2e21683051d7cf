import Basics

/// Whether this process can rely on being told of changes by others.
///
/// When Redis has fallen, not all are connected again at the same time. One that is back could believe what it finds
/// there and in its memory while another one, which is not, changes a value. So who is back waits for a while before it
/// relies on hearing: longer than anybody takes to come back and to tell what could not be told.
struct Hearing {
  private enum State {
    case since(MonotonicTime)
    /// Not since then.
    case lost(MonotonicTime)
  }

  private var state: State

  /// Nobody has told of anything yet.
  init(at now: MonotonicTime) {
    state = .lost(now)
  }

  /// Messages come from `now` on.
  mutating func began(at now: MonotonicTime) {
    state = .since(now)
  }

  /// No messages come any more.
  mutating func ended(at now: MonotonicTime) {
    state = .lost(now)
  }

  /// Whether what others have not told of has not happened.
  func isTrusted(at now: MonotonicTime) -> Bool {
    if case .since(let began) = state { now.since(began) >= Limits.dataTrust } else { false }
  }

  /// Whether no message could have come for `span`, so that others who listen to the same Redis know that too.
  func hasLost(for span: TimeSpan, at now: MonotonicTime) -> Bool {
    if case .lost(let end) = state { now.since(end) >= span } else { false }
  }
}
