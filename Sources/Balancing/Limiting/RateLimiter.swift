import Glibc
import Synchronization

/// Lets each client through at most `quota` times in a window, counted over all reactors together.
///
/// The table has a fixed size: sets of eight places, each a word for the client and a word for its counts (see
/// `RateWindow`). Counting a known client is a look at one set and one compare-and-swap. A client that is new to the
/// table takes an empty place, or that of the one which was silent for longest. Only then a gate of its set is closed
/// for some twenty instructions, because two threads that entered the same client twice would let twice the quota
/// through. Since an abandoned gate would shut a set for ever, nothing between closing and opening it can fail.
public final class RateLimiter: Sendable {
  /// What is said about one request.
  public struct Decision: Equatable, Sendable {
    /// Whether it may go on.
    public let isAllowed: Bool
    /// How many more would be let through now; four billion for any more than that.
    public var remaining: Int { Int(narrowRemaining) }
    /// Seconds until there is more room, rounded up: for a refused request until the next one is let through, else
    /// until the window ends.
    public var resetSeconds: Int { Int(narrowResetSeconds) }

    // Every connection keeps one.
    private let narrowRemaining: UInt32
    private let narrowResetSeconds: UInt32

    init(isAllowed: Bool, remaining: Int, resetSeconds: Int) {
      self.isAllowed = isAllowed
      narrowRemaining = UInt32(clamping: remaining)
      narrowResetSeconds = UInt32(clamping: resetSeconds)
    }
  }

  /// One client's use of its quota.
  public struct Usage: Equatable, Sendable {
    /// Who it is.
    public let client: ClientKey
    /// Requests let through in the window that ends now.
    public let requests: Int
    /// How many more would be let through now.
    public let remaining: Int
    /// Seconds until there is more room, rounded up.
    public let resetSeconds: Int
  }

  /// Requests let through in a window; 0 turns the limiter off.
  public let quota: Int
  /// The length of a window in milliseconds.
  public let windowMs: UInt64

  private let clients: AtomicWords
  private let windows: AtomicWords
  private let gates: AtomicWords
  private let setMask: UInt64
  private let seed: UInt64

  /// A limiter with room for `capacity` clients, rounded up to a power of two, 16 bytes each. `seed` makes it
  /// unpredictable which clients share a set.
  public init(quota: Int, windowMs: UInt64, capacity: Int = 65_536, seed: UInt64) {
    precondition(quota >= 0 && windowMs > 0 && capacity > 0, "a limiter needs a window and room")
    self.quota = quota
    self.windowMs = windowMs
    self.seed = seed
    var sets = 1
    while sets * Limits.rateTableWays < capacity { sets *= 2 }
    setMask = UInt64(sets - 1)
    clients = AtomicWords(count: sets * Limits.rateTableWays)
    windows = AtomicWords(count: sets * Limits.rateTableWays)
    gates = AtomicWords(count: sets)
  }

  /// Whether requests are counted and can be refused.
  public var isOn: Bool { quota > 0 }

  /// Counts a request of `client` at `nowMs` and says whether it may go on. Refused requests are not counted, so that a
  /// client that keeps knocking gets in again.
  public func admit(_ client: ClientKey, at nowMs: UInt64) -> Decision {
    guard isOn else { return Decision(isAllowed: true, remaining: .max, resetSeconds: 0) }
    let number = nowMs / windowMs
    let elapsed = nowMs % windowMs
    let place = find(client) ?? enter(client, number)
    var old = RateWindow(word: windows[place].load(ordering: .relaxed))
    while true {
      let seen = old.advanced(to: number)
      // Another reactor was in the next window already: its beginning is the nearest to our time.
      let into = old.age(at: number) == -1 ? 0 : elapsed
      let used = seen.weight(elapsed: into, length: windowMs)
      if used >= UInt64(quota), quota <= Limits.rateCountMax {
        let waitMs = seen.wait(elapsed: into, length: windowMs, quota: UInt64(quota))
        return Decision(isAllowed: false, remaining: 0, resetSeconds: seconds(max(waitMs, 1)))
      }
      let new = seen.counting()
      let (exchanged, original) = windows[place].compareExchange(
        expected: old.word, desired: new.word, ordering: .relaxed)
      if exchanged {
        let remaining = max(quota - 1 - Int(used), 0)
        return Decision(isAllowed: true, remaining: remaining, resetSeconds: seconds(windowMs - into))
      }
      old = RateWindow(word: original)
    }
  }

  /// How much `client` has used of its quota, nil if it is not in the table or was silent for two windows.
  public func usage(of client: ClientKey, at nowMs: UInt64) -> Usage? {
    guard let place = find(client) else { return nil }
    return usage(at: place, nowMs)
  }

  /// Calls `body` with each client that sent something in this window or the one before, in no order.
  public func forEachClient(at nowMs: UInt64, _ body: (Usage) -> Void) {
    for place in 0..<clients.count {
      if let usage = usage(at: place, nowMs) { body(usage) }
    }
  }

  /// How many clients sent something in this window or the one before; looks at the whole table.
  public func activeCount(at nowMs: UInt64) -> Int {
    var count = 0
    forEachClient(at: nowMs) { _ in count += 1 }
    return count
  }

  private func usage(at place: Int, _ nowMs: UInt64) -> Usage? {
    let number = clients[place].load(ordering: .relaxed)
    guard number != 0 else { return nil }
    let seen = RateWindow(word: windows[place].load(ordering: .relaxed)).advanced(to: nowMs / windowMs)
    guard seen.current + seen.previous > 0 else { return nil }
    let elapsed = nowMs % windowMs
    let used = Int(seen.weight(elapsed: elapsed, length: windowMs))
    let waitMs = seen.wait(elapsed: elapsed, length: windowMs, quota: UInt64(max(quota, 1)))
    return Usage(
      client: ClientKey(number: number), requests: used, remaining: max(quota - used, 0),
      resetSeconds: seconds(used >= quota ? max(waitMs, 1) : windowMs - elapsed))
  }

  private func seconds(_ ms: UInt64) -> Int { Int((ms + 999) / 1000) }

  private func setIndex(of client: ClientKey) -> Int {
    var z = client.number ^ seed
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int((z ^ (z >> 31)) & setMask)
  }

  private func find(_ client: ClientKey) -> Int? {
    let first = setIndex(of: client) * Limits.rateTableWays
    for place in first..<first + Limits.rateTableWays
    where clients[place].load(ordering: .acquiring) == client.number { return place }
    return nil
  }

  /// Gives `client` a place and returns it.
  private func enter(_ client: ClientKey, _ number: UInt64) -> Int {
    let set = setIndex(of: client)
    var spins = 0
    while !gates[set].compareExchange(expected: 0, desired: 1, ordering: .acquiring).exchanged {
      spins += 1
      if spins % Limits.gateSpinsMax == 0 { sched_yield() }
    }
    defer { gates[set].store(0, ordering: .releasing) }
    if let place = find(client) { return place }
    let place = oldestPlace(in: set, number)
    let evicted = RateWindow(word: windows[place].load(ordering: .relaxed))
    // Counts of two windows ago weigh nothing and may stay. Otherwise nobody may find the place while it is emptied; a
    // thread that had found it before can still add one to the new client's count, which errs on the safe side.
    if evicted.age(at: number) < 2 {
      clients[place].store(0, ordering: .sequentiallyConsistent)
      windows[place].store(RateWindow(number: number, previous: 0, current: 0).word, ordering: .sequentiallyConsistent)
    }
    clients[place].store(client.number, ordering: .releasing)
    return place
  }

  private func oldestPlace(in set: Int, _ number: UInt64) -> Int {
    let first = set * Limits.rateTableWays
    var oldest = first
    var oldestAge = Int.min
    for place in first..<first + Limits.rateTableWays {
      if clients[place].load(ordering: .relaxed) == 0 { return place }
      let window = RateWindow(word: windows[place].load(ordering: .relaxed))
      // Of those that were heard of in the same window the one with the least to lose.
      let age = window.age(at: number) << 24 - Int(window.current)
      if age > oldestAge {
        oldest = place
        oldestAge = age
      }
    }
    return oldest
  }
}
