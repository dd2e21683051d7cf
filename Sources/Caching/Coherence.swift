public import Basics

/// Which copies of values may still be answered, as far as a process knows that has a feed of all changes: all
/// decisions, no I/O.
///
///     source ──change──► feed ──► changed, invalidated: the copy in memory goes, and what it was is remembered
///        ▲                 │
///        └──── a look ─────┘     proved: everything that was committed before the look was sent has been heard
///
/// **In memory** is only what no change was heard of. It is answered if the last proof was sent less than
/// 0.9 s ago, so nobody's answer is older than that beside a change that was acknowledged, however slow this process,
/// the network or the source are: then copies are not believed, and the source is asked.
///
/// **Elsewhere**, where processes share copies, one may be put down by anybody at any time, also behind a change. So a
/// copy bears the version of its value, which each change raises, and the source's time just before it was read there.
/// It is believed if no change of its key to a larger version was heard, and no order to forget it that is later.
/// What was heard is remembered for a while; the copies from before that while are not believed.
///
/// Times of the source are its own clock's, in microseconds; no two clocks are compared.
public struct Coherence<Key: Hashable> {
  /// What makes a copy of a key too old.
  private struct Bound {
    var version = Int64.min
    var stamp = Int64.min
  }

  private let memory: TimeSpan
  private let boundsMax: Int
  /// Until when everything was heard, by this process's clock; nil if that was never proven. What is not forgotten by
  /// then, or believed, was true at that time, and no proof of a later one.
  public private(set) var provenAt: MonotonicTime?
  private var isFed = false
  /// What was heard since `turnedAt`, and before that, back to `floor`.
  private var bounds: [Key: Bound] = [:]
  private var formerBounds: [Key: Bound] = [:]
  private var turnedAt = MonotonicTime(nanoseconds: 0)
  /// Copies from before this time are not believed; no copies are if it is nil.
  private var floor: Int64?
  /// What `floor` becomes when `formerBounds` are forgotten: the source's time after the last of them was heard.
  private var nextFloor: Int64?
  /// No floor is below this: the last order to forget all, which may be heard before a proof is answered that was
  /// looked at before it.
  private var floorMin = Int64.min
  /// A proof must have been sent after this time to give a floor.
  private var floorSince = MonotonicTime(nanoseconds: 0)

  /// Believes nothing yet.
  /// - Parameters:
  ///   - memory: how long it is remembered at least what was heard: as long as copies elsewhere usually live.
  ///   - boundsMax: of how many keys at most.
  public init(memory: TimeSpan, boundsMax: Int = Limits.coherenceBoundsMax) {
    (self.memory, self.boundsMax) = (memory, boundsMax)
  }

  // MARK: Hearing

  /// Every change that is committed from `now` on is heard. What was in memory must be forgotten.
  public mutating func began(at now: MonotonicTime) {
    isFed = true
    forgetBounds(at: now)
  }

  /// Changes are not heard any more. What was proven stays so.
  public mutating func ended() {
    isFed = false
    floor = nil
  }

  /// A look at the source that was sent at `time` was answered, over the way that the feed takes too; the source's
  /// clock was at `clock` in between.
  public mutating func proved(at time: MonotonicTime, clock: Int64) {
    guard isFed else { return }
    provenAt = max(provenAt ?? time, time)
    let clock = max(clock, floorMin)
    if floor == nil {
      guard time >= floorSince else { return }
      (floor, nextFloor, turnedAt) = (clock, clock, time)
    } else if let next = nextFloor {
      guard time.since(turnedAt) >= memory || bounds.count >= boundsMax else { return }
      // What came while this proof was on its way may be from after `clock`: the next one bounds it.
      (floor, nextFloor, turnedAt) = (next, nil, time)
      (formerBounds, bounds) = (bounds, [:])
    } else {
      nextFloor = clock
    }
  }

  /// The value of `key` is that of `version` now.
  public mutating func changed(_ key: Key, to version: Int64, at now: MonotonicTime) {
    bound(key, at: now) { $0.version = max($0.version, version) }
  }

  /// What is kept of `key` is to be forgotten, since `stamp`.
  public mutating func invalidated(_ key: Key, since stamp: Int64, at now: MonotonicTime) {
    bound(key, at: now) { $0.stamp = max($0.stamp, stamp) }
  }

  /// What is kept of any key is to be forgotten, since `stamp`.
  public mutating func invalidatedAll(since stamp: Int64) {
    floorMin = max(floorMin, stamp)
    if let floor { self.floor = max(floor, stamp) }
    if let nextFloor { self.nextFloor = max(nextFloor, stamp) }
  }

  /// What is kept of any key is to be forgotten, whenever it was read: who says so does not know until when that could
  /// be. A look from now on tells.
  public mutating func invalidatedAll(at now: MonotonicTime) {
    forgetBounds(at: now)
  }

  // MARK: Believing

  /// Whether all is known that copies in memory are believed by.
  public func isProven(at now: MonotonicTime) -> Bool {
    provenAt.map { now.since($0) <= Limits.coherenceTrust } ?? false
  }

  /// Whether it is time for a proof.
  public func wantsProof(at now: MonotonicTime) -> Bool {
    provenAt.map { now.since($0) > Limits.coherenceLook } ?? true
  }

  /// Whether a copy in memory is believed that was its key's value for sure at `time`, and of which no change was heard
  /// since then.
  public func believes(since time: MonotonicTime, at now: MonotonicTime) -> Bool {
    isProven(at: now) || now.since(time) <= Limits.coherenceTrust
  }

  /// Whether changes are heard at all, and since when is known.
  public var isHearing: Bool { floor != nil }

  /// Whether copies elsewhere can be believed at all.
  public func believesShared(at now: MonotonicTime) -> Bool { floor != nil && isProven(at: now) }

  /// Whether such a copy of `key` is believed, which bears `version` and `stamp`.
  public func believes(_ key: Key, version: Int64, stamp: Int64, at now: MonotonicTime) -> Bool {
    guard let floor, isProven(at: now), stamp > floor else { return false }
    return !isOutdated(key, version: version, stamp: stamp)
  }

  /// Whether what this process has ordered to be written of `key` at `time`, and what bears `version` and `stamp` since
  /// then, may be outdated by now: a later change was heard already, or may have been heard and forgotten, or missed.
  public func isOvertaken(_ key: Key, version: Int64, stamp: Int64, since time: MonotonicTime) -> Bool {
    time <= floorSince || stamp <= floor ?? floorMin || isOutdated(key, version: version, stamp: stamp)
  }

  private func isOutdated(_ key: Key, version: Int64, stamp: Int64) -> Bool {
    for bound in [bounds[key], formerBounds[key]] {
      if let bound, version < bound.version || stamp <= bound.stamp { return true }
    }
    return false
  }

  private mutating func bound(_ key: Key, at now: MonotonicTime, _ change: (inout Bound) -> Void) {
    // More than twice as many while nobody asks for a proof: then nothing of it is kept.
    if bounds.count >= 2 * boundsMax { forgetBounds(at: now) }
    change(&bounds[key, default: Bound()])
  }

  private mutating func forgetBounds(at now: MonotonicTime) {
    bounds.removeAll()
    formerBounds.removeAll()
    floor = nil
    floorSince = now
  }
}
