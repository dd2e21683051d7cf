/// What clients of a store did with one key and were told, and whether one store could have told them that: a checker
/// after Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the states that it has met remembered.
///
/// Each call must have had its effect at one moment between its begin and its end. One whose end nobody knows may have
/// it at any later moment, or never.
public struct KeyHistory: Sendable {
  /// What a key has: the number of its newest version, and its value, nil for none.
  public struct State: Hashable, Sendable {
    /// The version, 0 before the first.
    public var version: Int64
    /// The value.
    public var value: Int?

    /// What a key has.
    public init(version: Int64 = 0, value: Int? = nil) {
      (self.version, self.value) = (version, value)
    }
  }

  /// What a client wanted, and what it was told.
  public enum Call: Hashable, Sendable {
    /// A new value, nil for a deletion; if the key has `ifVersion`. Nil as version: nobody knows what became of it.
    case wrote(Int?, ifVersion: Int64?, version: Int64?)
    /// That was refused because the key had another version, nil for no value.
    case refused(ifVersion: Int64, current: Int64?)
    /// The key had this value, nil for none.
    case read(State?)
  }

  private struct Operation {
    let call: Call
    let begin: UInt64
    let end: UInt64
  }

  private var operations: [Operation] = []

  /// Nothing was done.
  public init() {}

  /// How many calls there are.
  public var count: Int { operations.count }

  /// `call` was made at `begin` and answered at `end`.
  public mutating func add(_ call: Call, from begin: UInt64, to end: UInt64) {
    var end = end
    if case .wrote(_, _, version: nil) = call { end = .max }
    operations.append(Operation(call: call, begin: begin, end: end))
  }

  /// The versions that clients were told of, in their order.
  public var acknowledged: [Int64] {
    operations.compactMap { if case .wrote(_, _, let version?) = $0.call { version } else { nil } }.sorted()
  }

  /// The state after `call`, nil if it would have been told something else.
  private static func next(_ state: State, _ call: Call) -> State? {
    let live = state.value == nil ? nil : state.version
    switch call {
    case .wrote(let value, let wanted, let version):
      let isMet = wanted == nil || wanted == live
      guard let version else { return isMet ? State(version: state.version + 1, value: value) : state }
      return isMet && version == state.version + 1 ? State(version: version, value: value) : nil
    case .refused(let wanted, let current): return wanted != live && current == live ? state : nil
    case .read(let seen):
      return (seen ?? State(version: live ?? 0)) == State(version: live ?? 0, value: state.value) ? state : nil
    }
  }

  private struct Seen: Hashable {
    let done: [UInt64]
    let state: State
  }

  /// The same when it is known at last which values were put as which version: of a put of which nobody knew what
  /// became of it this tells. Values are put once.
  public func resolved(by versions: [Int: Int64]) -> KeyHistory {
    var resolved = KeyHistory()
    resolved.operations = operations.compactMap { operation in
      guard case .wrote(let value?, let wanted, version: nil) = operation.call else { return operation }
      guard let version = versions[value] else { return nil }
      let call = Call.wrote(value, ifVersion: wanted, version: version)
      return Operation(call: call, begin: operation.begin, end: .max)
    }
    return resolved
  }

  /// Whether there is an order of all calls that one store could have done them in.
  public var isLinearizable: Bool {
    let sorted = operations.sorted { $0.begin < $1.begin }
    var done = [UInt64](repeating: 0, count: sorted.count / 64 + 1)
    var seen: Set<Seen> = []
    // What was chosen, and where the search for another choice goes on.
    var path: [(index: Int, before: State)] = []
    var state = State()
    var from = 0
    func isDone(_ index: Int) -> Bool { done[index / 64] & (1 << UInt64(index % 64)) != 0 }
    var first = 0
    while true {
      while first < sorted.count, isDone(first) { first += 1 }
      if first == sorted.count { return true }
      // Nobody can come behind a call that has ended before it began. The rest without an end may never happen.
      var horizon = UInt64.max
      var index = first
      var chosen: (index: Int, state: State)?
      var mustGoOn = false
      while index < sorted.count, sorted[index].begin <= horizon {
        if !isDone(index) {
          horizon = min(horizon, sorted[index].end)
          if sorted[index].end != .max { mustGoOn = true }
          if chosen == nil, index >= from, let next = KeyHistory.next(state, sorted[index].call) {
            done[index / 64] |= 1 << UInt64(index % 64)
            if seen.insert(Seen(done: done, state: next)).inserted { chosen = (index, next) }
            done[index / 64] &= ~(1 << UInt64(index % 64))
          }
        }
        index += 1
      }
      if !mustGoOn, index == sorted.count { return true }
      if let chosen {
        path.append((chosen.index, state))
        done[chosen.index / 64] |= 1 << UInt64(chosen.index % 64)
        state = chosen.state
        from = 0
      } else {
        guard let last = path.popLast() else { return false }
        done[last.index / 64] &= ~(1 << UInt64(last.index % 64))
        first = min(first, last.index)
        state = last.before
        from = last.index + 1
      }
    }
  }
}
