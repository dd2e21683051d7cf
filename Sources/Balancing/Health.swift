/// What makes a backend fit or unfit for traffic.
public struct HealthPolicy: Sendable {
  /// Good checks in a row that bring a backend back.
  var riseCount = 2
  /// Failed checks in a row that take it out.
  var fallCount = 2
  /// Failed requests in a row that eject it.
  var ejectionErrors = 5
  /// How long the first ejection lasts, in milliseconds; each further one is longer by as much.
  var ejectionMs: UInt64 = 5_000
  /// The longest ejection, in milliseconds.
  var ejectionMsMax: UInt64 = 60_000
  /// Good behaviour after which earlier ejections are forgotten, in milliseconds.
  var forgetMs: UInt64 = 60_000
  /// How long a backend that came back gets less than its share, in milliseconds; 0 for none.
  var slowStartMs: UInt64 = 10_000

  /// The defaults.
  public init() {}
}

/// A backend's fitness for traffic in one 64-bit word, so that reactors change it by compare-and-swap:
///
///     63            20 19      16 15     14     8 7      4  3     2    1     0
///     | moment (ms)    | ejections | lost | errors | streak | ever | up | order |
///
/// `lost` says that the errors were lost connections, all of them: a restart explains those. `moment` serves two
/// purposes that follow each other: before it the backend is ejected, after it it warms up. `ever` says that a check
/// has passed at least once: before that a backend gets no traffic at all. Times are milliseconds of the monotonic
/// clock, 44 bits of them.
public struct Health: Equatable, Sendable {
  /// What an operator has ordered.
  public enum Order: UInt64, Sendable {
    /// Takes traffic if it is healthy.
    case ready
    /// Finishes what it has and gets nothing new.
    case drain
    /// Gets nothing.
    case down
  }

  /// What becomes of a request for this backend.
  public enum State: String, Sendable {
    /// No check has passed yet.
    case unchecked
    /// Takes its share.
    case up
    /// Came back a short while ago and takes a growing part of its share.
    case warming
    /// Failed too many requests and rests for a while.
    case ejected
    /// Failed its checks.
    case down
    /// Ordered to finish.
    case draining
    /// Ordered out.
    case disabled
  }

  /// The word as it is shared.
  public let word: UInt64

  /// The fitness that `word` says.
  @inlinable
  public init(word: UInt64) {
    self.word = word
  }

  /// A backend that nobody has checked yet.
  public static let unchecked = Health(word: 0)
  /// A backend that is believed in without checks.
  static let trusted = Health(word: 0b1100)

  @inlinable
  var order: Order { Order(rawValue: word & 3) ?? .down }
  @inlinable
  var isUp: Bool { word & 4 != 0 }
  @inlinable
  var wasEverUp: Bool { word & 8 != 0 }
  var streak: Int { Int(word >> 4 & 15) }
  @inlinable
  var errors: Int { Int(word >> 8 & 127) }
  var isLost: Bool { word >> 15 & 1 == 1 }
  var ejections: Int { Int(word >> 16 & 15) }
  @inlinable
  var moment: UInt64 { word >> 20 }

  /// Whether it takes traffic at `nowMs`.
  @inlinable
  public func isEligible(at nowMs: UInt64) -> Bool {
    word & 0b1111 == 0b1100 && moment <= nowMs
  }

  /// Whether it may be tried when nothing is eligible: ordered ready and seen alive at least once.
  public var isLastResort: Bool { order == .ready && wasEverUp }

  /// Whether its checks find it unwell, whatever an operator has ordered.
  public var failsChecks: Bool { wasEverUp && !isUp }

  /// The part of its share that it takes, in 1/16ths, 1 to 16.
  func sixteenths(at nowMs: UInt64, policy: HealthPolicy) -> Int {
    let age = nowMs &- moment
    if age >= policy.slowStartMs || moment > nowMs || moment == 0 { return 16 }
    return 1 + Int(age * 15 / policy.slowStartMs)
  }

  /// What to show of it.
  public func state(at nowMs: UInt64, policy: HealthPolicy) -> State {
    switch order {
    case .drain: return .draining
    case .down: return .disabled
    case .ready: break
    }
    if !wasEverUp { return .unchecked }
    if !isUp { return .down }
    if moment > nowMs { return .ejected }
    return sixteenths(at: nowMs, policy: policy) < 16 ? .warming : .up
  }

  private func changed(
    order: Order? = nil, isUp: Bool? = nil, streak: Int? = nil, errors: Int? = nil, isLost: Bool? = nil,
    ejections: Int? = nil, moment: UInt64? = nil
  ) -> Health {
    let up = isUp ?? self.isUp
    var word = (order ?? self.order).rawValue
    word |= up ? 4 : 0
    word |= up || wasEverUp ? 8 : 0
    word |= UInt64(min(streak ?? self.streak, 15)) << 4
    word |= UInt64(min(errors ?? self.errors, 127)) << 8
    word |= isLost ?? self.isLost ? 1 << 15 : 0
    word |= UInt64(min(ejections ?? self.ejections, 15)) << 16
    word |= (moment ?? self.moment) << 20
    return Health(word: word)
  }

  /// An active check found it well.
  public func checkPassed(at nowMs: UInt64, policy: HealthPolicy) -> Health {
    if isUp {
      // Whoever was restarted answers again: there is nothing to wait for. It still begins with a part of its share.
      if moment > nowMs, isLost { return changed(streak: 0, ejections: max(ejections - 1, 0), moment: nowMs) }
      let isForgiven = ejections > 0 && nowMs >= moment + policy.forgetMs
      return changed(streak: 0, ejections: isForgiven ? 0 : nil)
    }
    // The very first good check is enough: until then it took nothing, so there is no failure to be distrustful of.
    // It starts with its full share too, as after a start of the whole system all are new.
    if !wasEverUp { return changed(isUp: true, streak: 0, errors: 0, moment: 0) }
    if streak + 1 < policy.riseCount { return changed(streak: streak + 1) }
    return changed(isUp: true, streak: 0, errors: 0, moment: nowMs)
  }

  /// An active check failed.
  public func checkFailed(at nowMs: UInt64, policy: HealthPolicy) -> Health {
    if !isUp { return changed(streak: 0) }
    if streak + 1 < policy.fallCount { return changed(streak: streak + 1) }
    return changed(isUp: false, streak: 0)
  }

  /// A request was answered.
  func requestSucceeded() -> Health {
    Health(word: word & ~(127 << 8))
  }

  /// A request was not answered, or the answer shows that the backend is broken; `isLost` if its connection was lost
  /// or refused.
  public func requestFailed(at nowMs: UInt64, isLost: Bool, policy: HealthPolicy) -> Health {
    guard isUp, moment <= nowMs else { return self }
    let isLost = isLost && (errors == 0 || self.isLost)
    if errors + 1 < policy.ejectionErrors { return changed(errors: errors + 1, isLost: isLost) }
    let lasts = min(policy.ejectionMs * UInt64(ejections + 1), policy.ejectionMsMax)
    return changed(errors: 0, isLost: isLost, ejections: ejections + 1, moment: nowMs + lasts)
  }

  /// An operator has spoken.
  func ordered(_ order: Order) -> Health {
    changed(order: order)
  }
}
