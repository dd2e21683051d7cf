import Basics
import Glibc
import HTTPSyntax
import Reactor

/// Bytes of a `ByteBudget` that somebody holds; all of them go back with `shrink(to: 0)`, which its owner must see to.
final class ByteLease: SlowWork {
  /// How many there are.
  private(set) var bytes = 0
  private let budget: ByteBudget
  /// Where it stands among those that are held for slow peers, -1 if it does not.
  var position = -1
  private var holder: (any SlowHolder)?
  private var isLeaving = false
  /// When it began to be held for a peer, and when that last gave or took something.
  private var waitsSince = MonotonicTime(nanoseconds: 0)
  private var movedAt = MonotonicTime(nanoseconds: 0)
  /// Bytes that it gave or took, older ones counting for less and less.
  private var moved = 0.0

  /// A lease of nothing.
  init(_ budget: ByteBudget) {
    self.budget = budget
  }

  /// Takes `amount` more bytes; false if there are none.
  /// - Parameter pace: in bytes a second; who is faster makes no room for that.
  func grow(by amount: Int, slowerThan pace: Double = .infinity, on reactor: isolated Reactor) -> Bool {
    guard amount > 0 else { return true }
    if isLeaving { return false }
    guard budget.take(amount, for: self, slowerThan: pace, on: reactor) else { return false }
    bytes += amount
    return true
  }

  /// The same, at nobody's expense.
  func growIfFree(by amount: Int, on reactor: isolated Reactor) -> Bool {
    !isLeaving && budget.isFree(amount) && grow(by: amount, on: reactor)
  }

  /// Gives back all but `amount` bytes.
  func shrink(to amount: Int, on reactor: isolated Reactor) {
    guard amount < bytes else { return }
    // Who was parted with gives everything back.
    budget.gave(back: bytes - amount, wasLeaving: isLeaving, on: reactor)
    bytes = amount
    if amount == 0 { isLeaving = false }
  }

  /// From now on it is held because a peer has to give or take something; `holder` may be parted from it.
  func waits(_ holder: any SlowHolder, on reactor: isolated Reactor) {
    self.holder = holder
    waitsSince = reactor.now
    movedAt = reactor.now
    moved = 0
    if position < 0 { budget.add(slow: self) }
  }

  /// The peer has given or taken `amount` bytes.
  func moved(_ amount: Int, on reactor: isolated Reactor) {
    moved = moved * ByteLease.rest(of: reactor.now.since(movedAt)) + Double(amount)
    movedAt = reactor.now
  }

  /// It is not held for a peer any more.
  func waitsNoMore() {
    holder = nil
    if position >= 0 { budget.remove(slow: self) }
  }

  /// How fast the peer is lately, in bytes a second: what it moved, weighed by age, over the weight of all its time.
  /// So neither much at once long ago nor a late beginning is worth anything. Of who has only just begun nothing is
  /// known yet: infinity.
  func pace(at now: MonotonicTime) -> Double {
    if moved == 0, now.since(waitsSince) < HTTPLimits.begunPause { return .infinity }
    let weight = 1 - ByteLease.rest(of: max(now.since(waitsSince), .milliseconds(1)))
    return moved * ByteLease.rest(of: now.since(movedAt)) / weight
  }

  /// What is left of the weight of bytes of this age.
  private static func rest(of age: TimeSpan) -> Double { exp(-age.seconds) }

  func shed(on reactor: isolated Reactor) {
    let holder = holder
    waitsNoMore()
    isLeaving = true
    budget.leaves(with: bytes)
    holder?.shed(on: reactor)
  }
}
