import Synchronization

/// A server that requests can be sent to: its name, and what all reactors together know of it. Counting is atomic adds
/// without locks or allocation. Where it listens is the balancer's knowledge, found by `slot`.
public final class Backend: Sendable {
  /// What it is called in configuration, logs and on the hash ring.
  public let name: String
  /// A small number that is its own for as long as it is in use: where reactors keep their connections to it.
  public let slot: Int
  /// When it is fit for traffic.
  public let policy: HealthPolicy
  /// The most requests that it may have in flight.
  public let inFlightMax: Int

  private let healthWord: Atomic<UInt64>
  private let weightNumber: Atomic<Int>
  private let load = BackendLoad()

  /// A backend that gets traffic after its first good check, or at once if it is `isTrusted`.
  public init(
    name: String, slot: Int, weight: Int = 1, inFlightMax: Int = .max, policy: HealthPolicy = HealthPolicy(),
    isTrusted: Bool = false
  ) {
    precondition(Limits.weights.contains(weight), "a weight is 1 to 256")
    self.name = name
    self.slot = slot
    self.policy = policy
    self.inFlightMax = inFlightMax
    weightNumber = Atomic(weight)
    healthWord = Atomic((isTrusted ? Health.trusted : Health.unchecked).word)
  }

  /// Its bit in a set of backends that a request has tried. Beyond 64 backends some share a bit, and a request may pass
  /// one by that it has not tried.
  public var bit: UInt64 { 1 << UInt64(slot & 63) }

  /// Whether an answer with `status` counts against whoever gave it.
  public static func isBad(status: Int) -> Bool { status == 500 || 502...504 ~= status }

  /// Requests sent and not answered yet, on all reactors.
  public var inFlight: Int { Int(load[.inFlight].load(ordering: .relaxed)) }

  /// Requests sent so far.
  public var requests: Int { Int(load[.requests].load(ordering: .relaxed)) }

  /// Requests that failed, or were answered with a server error, so far.
  public var errors: Int { Int(load[.errors].load(ordering: .relaxed)) }

  /// A moving average of the time to a good answer in microseconds, 0 before the first.
  public var latencyUs: Int { Int(load[.latencyUs].load(ordering: .relaxed)) }

  /// The share of bad answers lately, 0 to 1.
  var badShare: Double { Double(load[.badShare].load(ordering: .relaxed)) / 1024 }

  /// Its weight, 1 to 256. A pool built after a change goes by it.
  public var weight: Int {
    get { weightNumber.load(ordering: .relaxed) }
    set {
      weightNumber.store(min(max(newValue, Limits.weights.lowerBound), Limits.weights.upperBound), ordering: .relaxed)
    }
  }

  /// Its fitness now.
  public var health: Health { Health(word: healthWord.load(ordering: .relaxed)) }

  /// Whether one more request may be sent to it.
  var hasRoom: Bool { inFlightMax == .max || inFlight < inFlightMax }

  /// A request is on its way, unless there is no room for it; every call that says true is followed by exactly one of
  /// `requestAnswered`, `requestFailed` and `requestAbandoned`.
  public func requestStarted() -> Bool {
    let before = load[.inFlight].wrappingAdd(1, ordering: .relaxed).oldValue
    if inFlightMax != .max, before >= UInt64(inFlightMax) {
      load[.inFlight].wrappingSubtract(1, ordering: .relaxed)
      return false
    }
    load[.requests].wrappingAdd(1, ordering: .relaxed)
    return true
  }

  /// The request got its answer after `latencyUs` microseconds. A bad one, a server error, counts against the backend
  /// and not for its speed: nothing is faster than refusing.
  public func requestAnswered(latencyUs: Int, isBad: Bool = false) {
    load[.inFlight].wrappingSubtract(1, ordering: .relaxed)
    // An eighth of the new into the old; two reactors at once may lose one sample, which an average survives.
    let share = load[.badShare].load(ordering: .relaxed)
    if isBad {
      load[.errors].wrappingAdd(1, ordering: .relaxed)
      load[.badShare].store(share + (1024 - share) / 8, ordering: .relaxed)
    } else {
      if share > 0 { load[.badShare].store(share - max(share / 8, 1), ordering: .relaxed) }
      let average = Int(load[.latencyUs].load(ordering: .relaxed))
      let new = average == 0 ? latencyUs : average + (latencyUs - average) / 8
      load[.latencyUs].store(UInt64(max(new, 0)), ordering: .relaxed)
    }
    if health.errors > 0 { update { $0.requestSucceeded() } }
  }

  /// The request got no answer, or one that shows that the backend is broken; `isLost` if its connection was lost or
  /// refused. The states before and after.
  @discardableResult
  public func requestFailed(at nowMs: UInt64, isLost: Bool = false) -> (old: Health, new: Health) {
    load[.inFlight].wrappingSubtract(1, ordering: .relaxed)
    load[.errors].wrappingAdd(1, ordering: .relaxed)
    return update { $0.requestFailed(at: nowMs, isLost: isLost, policy: policy) }
  }

  /// The request ended for a reason that says nothing about the backend: its client left.
  public func requestAbandoned() {
    load[.inFlight].wrappingSubtract(1, ordering: .relaxed)
  }

  /// An active check found it well; the states before and after.
  @discardableResult
  public func checkPassed(at nowMs: UInt64) -> (old: Health, new: Health) {
    // Whoever gave bad answers gets few requests, and so has few occasions to give good ones.
    let share = load[.badShare].load(ordering: .relaxed)
    if share > 0 { load[.badShare].store(share / 2, ordering: .relaxed) }
    return update { $0.checkPassed(at: nowMs, policy: policy) }
  }

  /// An active check failed; the states before and after.
  @discardableResult
  public func checkFailed(at nowMs: UInt64) -> (old: Health, new: Health) {
    update { $0.checkFailed(at: nowMs, policy: policy) }
  }

  /// An operator has spoken.
  public func order(_ order: Health.Order) {
    update { $0.ordered(order) }
  }

  /// What to show of it at `nowMs`.
  public func state(at nowMs: UInt64) -> Health.State {
    health.state(at: nowMs, policy: policy)
  }

  @discardableResult
  private func update(_ change: (Health) -> Health) -> (old: Health, new: Health) {
    var word = healthWord.load(ordering: .relaxed)
    while true {
      let new = change(Health(word: word))
      let (exchanged, original) = healthWord.weakCompareExchange(expected: word, desired: new.word, ordering: .relaxed)
      if exchanged { return (Health(word: word), new) }
      word = original
    }
  }
}
