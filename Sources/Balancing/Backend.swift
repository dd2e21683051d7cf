public import Synchronization

/// A server that requests can be sent to: its name, and what all reactors together know of it. Counting is atomic adds
/// without locks or allocation. Where it listens is the balancer's knowledge, found by `slot`.
public final class Backend: Sendable {
  /// What it is called in configuration, logs and on the hash ring.
  public let name: String
  /// A small number that stays its own as long as the process lives: where reactors keep their connections to it.
  public let slot: Int
  /// When it is fit for traffic.
  public let policy: HealthPolicy

  @usableFromInline let healthWord: Atomic<UInt64>
  @usableFromInline let inFlightCount = Atomic<Int>(0)
  @usableFromInline let requestsCount = Atomic<Int>(0)
  @usableFromInline let errorsCount = Atomic<Int>(0)
  @usableFromInline let latencyAverageUs = Atomic<Int>(0)
  let weightNumber: Atomic<Int>

  /// A backend that gets traffic after its first good check, or at once if it is `trusted`.
  public init(name: String, slot: Int, weight: Int = 1, policy: HealthPolicy = HealthPolicy(), isTrusted: Bool = false)
  {
    precondition(Limits.weights.contains(weight), "a weight is 1 to 256")
    self.name = name
    self.slot = slot
    self.policy = policy
    weightNumber = Atomic(weight)
    healthWord = Atomic((isTrusted ? Health.trusted : Health.unchecked).word)
  }

  /// Requests sent and not answered yet, on all reactors.
  @inlinable
  public var inFlight: Int { inFlightCount.load(ordering: .relaxed) }

  /// Requests sent so far.
  public var requests: Int { requestsCount.load(ordering: .relaxed) }

  /// Requests that failed so far.
  public var errors: Int { errorsCount.load(ordering: .relaxed) }

  /// A moving average of the time to an answer in microseconds, 0 before the first.
  @inlinable
  public var latencyUs: Int { latencyAverageUs.load(ordering: .relaxed) }

  /// Its weight, 1 to 256. A pool built after a change goes by it.
  public var weight: Int {
    get { weightNumber.load(ordering: .relaxed) }
    set {
      weightNumber.store(min(max(newValue, Limits.weights.lowerBound), Limits.weights.upperBound), ordering: .relaxed)
    }
  }

  /// Its fitness now.
  @inlinable
  public var health: Health { Health(word: healthWord.load(ordering: .relaxed)) }

  /// A request is on its way; every call is followed by exactly one of `requestAnswered`, `requestFailed` and
  /// `requestAbandoned`.
  @inlinable
  public func requestStarted() {
    inFlightCount.add(1, ordering: .relaxed)
    requestsCount.add(1, ordering: .relaxed)
  }

  /// The request got its answer after `latencyUs` microseconds.
  @inlinable
  public func requestAnswered(latencyUs: Int) {
    inFlightCount.subtract(1, ordering: .relaxed)
    let average = latencyAverageUs.load(ordering: .relaxed)
    // An eighth of the new into the old; two reactors at once may lose one sample, which an average survives.
    latencyAverageUs.store(average == 0 ? latencyUs : average + (latencyUs - average) / 8, ordering: .relaxed)
    if health.errors > 0 { update { $0.requestSucceeded() } }
  }

  /// The request got no answer, or one that shows that the backend is broken.
  public func requestFailed(at nowMs: UInt64) {
    inFlightCount.subtract(1, ordering: .relaxed)
    errorsCount.add(1, ordering: .relaxed)
    update { $0.requestFailed(at: nowMs, policy: policy) }
  }

  /// The request ended for a reason that says nothing about the backend: its client left.
  @inlinable
  public func requestAbandoned() {
    inFlightCount.subtract(1, ordering: .relaxed)
  }

  /// An active check found it well; the states before and after.
  @discardableResult
  public func checkPassed(at nowMs: UInt64) -> (old: Health, new: Health) {
    update { $0.checkPassed(at: nowMs, policy: policy) }
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

  @inlinable
  @discardableResult
  func update(_ change: (Health) -> Health) -> (old: Health, new: Health) {
    var word = healthWord.load(ordering: .relaxed)
    while true {
      let new = change(Health(word: word))
      let (exchanged, original) = healthWord.weakCompareExchange(expected: word, desired: new.word, ordering: .relaxed)
      if exchanged { return (Health(word: word), new) }
      word = original
    }
  }
}
